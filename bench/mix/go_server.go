// What docs/examples/compute_server does at /hello and /mandelbrot.png, as one writes it in Go: a picture's rows are shared out
// to as many goroutines as there are cores. go_server PORT
package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

func integer(request *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(request.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}

func colourAt(cx, cy float64, iterations int) uint8 {
	x, y := 0.0, 0.0
	n := 0
	for ; n < iterations && x*x+y*y < 4; n++ {
		x, y = x*x-y*y+cx, 2*x*y+cy
	}
	if n == iterations {
		return 0
	}
	return uint8(1 + n%255)
}

func mandelbrot(writer http.ResponseWriter, request *http.Request) {
	width, height := integer(request, "w", 900), integer(request, "h", 600)
	iterations := integer(request, "iterations", 500)
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.RGBA{uint8(i), uint8(i * 3), uint8(i * 7), 255}
	}
	picture := image.NewPaletted(image.Rect(0, 0, width, height), palette)
	step := 3 / float64(width)
	var next atomic.Int64
	var drawn sync.WaitGroup
	for i := 0; i < runtime.GOMAXPROCS(0); i++ {
		drawn.Add(1)
		go func() {
			defer drawn.Done()
			for row := int(next.Add(1)) - 1; row < height; row = int(next.Add(1)) - 1 {
				cy := -(float64(row) - float64(height)/2) * step
				for column := 0; column < width; column++ {
					cx := -0.5 + (float64(column)-float64(width)/2)*step
					picture.Pix[row*picture.Stride+column] = colourAt(cx, cy, iterations)
				}
			}
		}()
	}
	drawn.Wait()
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		http.Error(writer, err.Error(), http.StatusInternalServerError)
		return
	}
	writer.Header().Set("Content-Type", "image/png")
	writer.Write(file.Bytes())
}

func main() {
	http.HandleFunc("/hello", func(writer http.ResponseWriter, request *http.Request) {
		writer.Write([]byte("hello\n"))
	})
	http.HandleFunc("/mandelbrot.png", mandelbrot)
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
