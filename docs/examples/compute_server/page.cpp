#include "page.hpp"

namespace compute_server {

const std::string_view kPage = R"html(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>compute_server</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
  img { width: 100%; aspect-ratio: 3 / 2; background: #222; cursor: zoom-in; }
  output { display: block; min-height: 1.5em; color: #555; }
</style>
<h1>compute_server</h1>
<p>A click zooms in, with Shift it zooms out. While it computes, the line below goes on.</p>
<img id="picture" alt="the Mandelbrot set">
<output id="took"></output>
<form id="say"><input id="text" value="hello" aria-label="message"> <button>Send by WebSocket</button></form>
<output id="heard"></output>
<output id="pulse"></output>
<p><a href="metrics">metrics</a></p>
<script>
"use strict";
const by = id => document.getElementById(id);
const view = { x: -0.5, y: 0, zoom: 1 };
const picture = by("picture");

async function draw() {
  const url = `mandelbrot.png?x=${view.x.toFixed(15)}&y=${view.y.toFixed(15)}&zoom=${view.zoom}&w=960&h=640&iterations=1000`;
  const begin = performance.now();
  const answer = await fetch(url);
  if (!answer.ok) { by("took").value = `${answer.status}: ${await answer.text()}`; return; }
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(await answer.blob());
  by("took").value = `${(performance.now() - begin).toFixed(0)} ms, zoom ${view.zoom}`;
}

picture.addEventListener("click", event => {
  const box = picture.getBoundingClientRect();
  const width = 3 / view.zoom;
  view.x += ((event.clientX - box.left) / box.width - 0.5) * width;
  view.y -= ((event.clientY - box.top) / box.height - 0.5) * width * 2 / 3;
  view.zoom = Math.min(1e13, Math.max(0.5, view.zoom * (event.shiftKey ? 0.5 : 2)));
  draw();
});

const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/[^/]*$/, "echo"));
let asked = 0;
socket.onmessage = event => {
  if (event.data === "pulse") by("pulse").value = `the server answers in ${(performance.now() - asked).toFixed(1)} ms`;
  else by("heard").value = event.data;
};
socket.onclose = event => { by("pulse").value = `closed: ${event.code}`; };
setInterval(() => {
  if (socket.readyState !== WebSocket.OPEN) return;
  asked = performance.now();
  socket.send("pulse");
}, 500);
by("say").addEventListener("submit", event => { event.preventDefault(); socket.send(by("text").value); });
draw();
</script>
</html>
)html";

}  // namespace compute_server
