// What docs/examples/compute_server does at /hello and /mandelbrot.png, in Rust: tokio waits, rayon draws a picture's rows in
// its pool, a thread for each core in both. The picture is written by the same libpng, and no more of HTTP is understood
// than wrk asks for. tokio_rayon_server PORT
use rayon::prelude::*;
use std::ffi::{c_char, c_int, c_void};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const COLOURS: usize = 256;
const PNG_FORMAT_RGB_COLORMAP: u32 = 2 | 8;

// png_image of libpng's simplified interface, version 1.
#[repr(C)]
struct PngImage {
    opaque: *mut c_void,
    version: u32,
    width: u32,
    height: u32,
    format: u32,
    flags: u32,
    colormap_entries: u32,
    warning_or_error: u32,
    message: [c_char; 64],
}

#[link(name = "png16")]
extern "C" {
    fn png_image_write_to_memory(
        image: *mut PngImage,
        memory: *mut c_void,
        bytes: *mut usize,
        convert_to_8bit: c_int,
        buffer: *const c_void,
        row_stride: i32,
        colormap: *const c_void,
    ) -> c_int;
}

struct View {
    width: usize,
    height: usize,
    iterations: i32,
}

fn colour_at(cx: f64, cy: f64, iterations: i32) -> u8 {
    let (mut x, mut y) = (0.0, 0.0);
    for i in 0..iterations {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 4.0 {
            return (1 + i % (COLOURS as i32 - 1)) as u8;
        }
        y = 2.0 * x * y + cy;
        x = xx - yy + cx;
    }
    0
}

fn png_of(pixels: &[u8], view: &View) -> Vec<u8> {
    let palette: Vec<[u8; 3]> = (0..COLOURS)
        .map(|i| {
            let wave = |phase: f64| (127.5 * (1.0 - (i as f64 * 0.1 + phase).cos())) as u8;
            if i == 0 { [0; 3] } else { [wave(0.2), wave(0.7), wave(1.4)] }
        })
        .collect();
    // More than deflate makes of what cannot be compressed, and the rest of the file.
    let mut size = pixels.len() + pixels.len() / 8 + view.height + 64 * 1024;
    let mut file = vec![0u8; size];
    // SAFETY: of plain fields, and all zero is what libpng asks for.
    let mut image: PngImage = unsafe { std::mem::zeroed() };
    image.version = 1;
    image.width = view.width as u32;
    image.height = view.height as u32;
    image.format = PNG_FORMAT_RGB_COLORMAP;
    image.colormap_entries = COLOURS as u32;
    // SAFETY: the buffers are as large as the sizes beside them say.
    let written = unsafe {
        png_image_write_to_memory(
            &mut image,
            file.as_mut_ptr().cast(),
            &mut size,
            0,
            pixels.as_ptr().cast(),
            view.width as i32,
            palette.as_ptr().cast(),
        )
    };
    assert!(written != 0, "libpng refused the picture");
    file.truncate(size);
    file
}

fn mandelbrot_png(view: &View) -> Vec<u8> {
    let mut pixels = vec![0u8; view.width * view.height];
    let step = 3.0 / view.width as f64;
    pixels.par_chunks_mut(view.width).enumerate().for_each(|(row, line)| {
        let cy = -(row as f64 - view.height as f64 / 2.0) * step;
        for (column, pixel) in line.iter_mut().enumerate() {
            let cx = -0.5 + (column as f64 - view.width as f64 / 2.0) * step;
            *pixel = colour_at(cx, cy, view.iterations);
        }
    });
    png_of(&pixels, view)
}

fn parameter(query: &str, name: &str, otherwise: usize) -> usize {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(otherwise)
}

async fn answer(target: &str) -> (&'static str, &'static str, Vec<u8>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/hello" => ("200 OK", "text/plain", b"hello\n".to_vec()),
        "/mandelbrot.png" => {
            let view = View {
                width: parameter(query, "w", 900),
                height: parameter(query, "h", 600),
                iterations: parameter(query, "iterations", 500) as i32,
            };
            let (send, receive) = tokio::sync::oneshot::channel();
            rayon::spawn(move || {
                let _ = send.send(mandelbrot_png(&view));
            });
            ("200 OK", "image/png", receive.await.unwrap())
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    }
}

async fn serve_connection(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 && bytes.len() < 64 * 1024 => {}
                _ => return,
            }
        };
        let target = {
            let head = match std::str::from_utf8(&bytes[..end]) {
                Ok(head) => head,
                Err(_) => return,
            };
            match head.split(' ').nth(1) {
                Some(target) => target.to_owned(),
                None => return,
            }
        };
        bytes.drain(..end);
        let (status, kind, body) = answer(&target).await;
        let mut response = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        response.extend_from_slice(&body);
        if stream.write_all(&response).await.is_err() {
            return;
        }
    }
}

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("PORT");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(stream));
        }
    });
}
