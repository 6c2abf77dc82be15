// A shaded sphere and a stick on a canvas.

function paintSphere(rgb, paper, haze) {
  const size = 96;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const gradient = context.createRadialGradient(size * 0.36, size * 0.32, size * 0.02, size * 0.47, size * 0.46, size * 0.56);
  const stops = [[0, [255, 255, 255], 0.72], [0.22, [255, 255, 255], 0.2], [0.6, [0, 0, 0], 0.06], [0.9, [0, 0, 0], 0.38], [1, [0, 0, 0], 0.55]];
  for (const [place, towards, part] of stops) gradient.addColorStop(place, css(mixed(mixed(rgb, towards, part), paper, haze)));
  context.fillStyle = gradient;
  context.beginPath();
  context.arc(size / 2, size / 2, size / 2 - 1, 0, 7);
  context.fill();
  return canvas;
}

// Share of the width, what the colour is mixed with, and how much: a dark edge, the colour itself, a light in the middle.
const STICK = [[1, [0, 0, 0], 0.45], [0.72, [0, 0, 0], 0], [0.26, [255, 255, 255], 0.4]];

function stick(context, from, to, width, colours, layers) {
  for (let k = layers === 1 ? 1 : 0; k < (layers === 1 ? 2 : 3); k++) {
    context.strokeStyle = colours[k];
    context.lineWidth = Math.max(0.6, STICK[k][0] * width);
    line(context, from[0], from[1], to[0], to[1]);
  }
}
