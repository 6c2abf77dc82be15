// A structure in 3D on a plain canvas: spheres, bonds and edges, drawn from the far to the near. It needs no WebGL, so that
// it also works over remote desktops and where graphics drivers are switched off.

const FOG_STEPS = 6;
const BOND_WIDTH = 0.2; // Å
const MANY_BONDS = 1500; // above, bonds are plain, and left out while the structure moves
const STYLES = { balls: { part: 0.42, bonds: true }, spheres: { part: 1.15, bonds: false }, sticks: { part: 0.16, bonds: true } };
const FACES = { a: [[0, 1, 0], [0, 0, 1], [1, 0, 0]], b: [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], c: [[1, 0, 0], [0, 1, 0], [0, 0, 1]] };

class Viewer {
  constructor(elements) {
    Object.assign(this, { elements, scene: null, structure: null, style: "balls", copies: 1, picked: [], sprites: new Map() });
    this.canvas = byId("viewer");
    this.tip = byId("viewer-tip");
    this.pointers = new Map();
    this.reset();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  reset() {
    const [s, c] = [Math.sin(0.42), Math.cos(0.42)];
    const [t, d] = [Math.sin(-0.38), Math.cos(-0.38)];
    // The z axis points up, turned a little to the side and tilted towards the eye.
    this.turn = [[c, s, 0], [-s * -t, c * -t, d], [s * d, -c * d, -t]];
    this.zoom = 1;
    this.shift = [0, 0];
  }

  show(structure) {
    this.structure = structure;
    this.picked = [];
    this.rebuild();
  }

  rebuild() {
    this.scene = this.structure && buildScene(this.structure, this.elements, this.copies);
    this.picked = [];
    this.measure();
    this.draw();
  }

  face(direction) {
    this.turn = FACES[direction].map((row) => [...row]);
    this.shift = [0, 0];
    this.draw();
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      this.still = true;
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
      if (end === "pointerup" && this.still && this.pointers.size === 1) this.pick(event);
      this.pointers.delete(event.pointerId);
    });
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY * 0.0012));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => {
      this.reset();
      this.draw();
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (turns[event.key]) this.rotate(...turns[event.key]);
    else if (["+", "="].includes(event.key)) this.scale(1.15);
    else if (event.key === "-") this.scale(1 / 1.15);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
    this.draw();
  }

  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return this.hover(event);
    const now = [event.offsetX, event.offsetY];
    const [dx, dy] = [now[0] - last[0], now[1] - last[1]];
    if (Math.hypot(dx, dy) < 3 && this.still) return;
    this.still = false;
    this.tip.hidden = true;
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      this.scale(Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(1, Math.hypot(last[0] - other[0], last[1] - other[1])));
    } else if (event.shiftKey) this.shift = [this.shift[0] + dx, this.shift[1] + dy];
    else this.rotate(dx * 0.01, dy * 0.01);
    this.pointers.set(event.pointerId, now);
    this.draw();
  }

  // Around the axes of the screen, up and to the right.
  rotate(right, down) {
    const [x, y, z] = this.turn;
    const [c, s] = [Math.cos(right), Math.sin(right)];
    const [x1, z1] = [x.map((v, k) => c * v + s * z[k]), z.map((v, k) => c * v - s * x[k])];
    const [d, t] = [Math.cos(down), Math.sin(down)];
    this.stir();
    this.turn = [x1, y.map((v, k) => d * v - t * z1[k]), z1.map((v, k) => d * v + t * y[k])];
  }

  // While something moves it is drawn with less, and with all again soon after.
  stir() {
    this.moving = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.moving = false;
      if (this.scene?.bonds.length > MANY_BONDS) this.draw();
    }, 200);
  }

  scale(by) {
    this.stir();
    this.zoom = Math.min(40, Math.max(0.2, this.zoom * by));
    this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { context, width, height } = fitted(this.canvas);
    context.clearRect(0, 0, width, height);
    this.placed = [];
    if (!this.scene || !this.scene.atoms.length) return;
    const { atoms, bonds, edges, centre, radius } = this.scene;
    this.pixels = (0.5 * Math.min(width, height) * this.zoom) / radius;
    const eye = 5 * radius;
    const project = (p) => {
      const v = plus(p, centre, -1);
      const [x, y, z] = this.turn.map((row) => dot(row, v));
      const size = (this.pixels * eye) / (eye - Math.min(z, 0.9 * eye));
      return [width / 2 + this.shift[0] + x * size, height / 2 + this.shift[1] - y * size, z, size];
    };
    const style = STYLES[this.style];
    const radiusOf = (atom) => style.part * Math.max(0.45, this.elements.radii[atom.number] ?? 1);
    this.placed = atoms.map((atom) => {
      const [x, y, z, size] = project(atom.position);
      return { atom, x, y, z, r: radiusOf(atom) * size };
    });
    const things = this.placed.map((ball) => ({ z: ball.z, draw: () => this.ball(context, ball) }));
    if (style.bonds && !(this.moving && bonds.length > MANY_BONDS)) for (const bond of bonds) this.addBond(things, context, bond, project, radiusOf);
    for (const [from, to] of edges) this.addEdge(things, context, from, to, project);
    things.sort((a, b) => a.z - b.z);
    for (const thing of things) thing.draw();
    this.marks(context);
    if (edges.length) this.triad(context, height);
  }

  // How far in the haze something is: 0 at the front, FOG_STEPS - 1 at the back.
  fog(z) {
    const part = 0.5 - z / (2 * this.scene.radius);
    return Math.min(FOG_STEPS - 1, Math.max(0, Math.floor(part * FOG_STEPS)));
  }

  // The three colours of a stick, or one of an edge (number -1), by depth and theme; made once.
  hazy(number, z) {
    const [paper, fog] = [token("--paper"), this.fog(z)];
    const key = `stick ${number} ${fog} ${paper}`;
    if (!this.sprites.has(key)) {
      const own = channels(number < 0 ? token("--edge") : this.colour(number));
      const rgb = mixed(own, channels(paper), fog * 0.11);
      this.sprites.set(key, STICK.map(([, towards, amount]) => css(mixed(rgb, towards, amount))));
    }
    return this.sprites.get(key);
  }

  ball(context, { atom, x, y, z, r }) {
    context.drawImage(this.sprite(atom.number, this.fog(z)), x - r, y - r, 2 * r, 2 * r);
  }

  // A shaded sphere, painted once for each element, depth and theme.
  sprite(number, fog) {
    const paper = token("--paper");
    const key = `${number} ${fog} ${paper}`;
    if (!this.sprites.has(key)) this.sprites.set(key, paintSphere(channels(this.colour(number)), channels(paper), fog * 0.11));
    return this.sprites.get(key);
  }

  colour(number) {
    return this.elements.colours[number] ?? "#888888";
  }

  addBond(things, context, [i, j], project, radiusOf) {
    const { atoms } = this.scene;
    const along = plus(atoms[j].position, atoms[i].position, -1);
    const length = norm(along);
    const middle = project(plus(atoms[i].position, along, 0.5));
    for (const [atom, sign] of [[atoms[i], 1], [atoms[j], -1]]) {
      const start = project(plus(atom.position, along, (sign * 0.85 * Math.min(radiusOf(atom), length / 2)) / length));
      const z = (start[2] + middle[2]) / 2;
      const colours = this.hazy(atom.number, z);
      const layers = this.scene.bonds.length > MANY_BONDS ? 1 : 3;
      const width = BOND_WIDTH * ((start[3] + middle[3]) / 2);
      things.push({ z, draw: () => stick(context, start, middle, width, colours, layers) });
    }
  }

  addEdge(things, context, from, to, project) {
    const pieces = 10;
    const along = plus(to, from, -1);
    for (let k = 0; k < pieces; k++) {
      const [p, q] = [k, k + 1].map((n) => project(plus(from, along, n / pieces)));
      const z = (p[2] + q[2]) / 2;
      things.push({ z, draw: () => {
        context.strokeStyle = this.hazy(-1, z)[1];
        context.lineWidth = 1.3;
        line(context, p[0], p[1], q[0], q[1]);
      } });
    }
  }

  // The directions of the cell vectors, in the corner.
  triad(context, height) {
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const origin = [34, height - 34];
    this.structure.cell.forEach((vector, v) => {
      if (norm(vector) < 1e-9) return;
      const [x, y] = this.turn.map((row) => dot(row, unit(vector)));
      context.strokeStyle = context.fillStyle = ["#d1495b", "#2e8b57", "#3b7dd8"][v];
      context.lineWidth = 2;
      line(context, ...origin, origin[0] + 20 * x, origin[1] - 20 * y);
      context.fillText("abc"[v], origin[0] + 28 * x, origin[1] - 28 * y);
    });
  }

  marks(context) {
    context.strokeStyle = token("--accent");
    context.lineWidth = 2.5;
    for (const { x, y, r } of this.picked.map((i) => this.placed[i])) {
      context.beginPath();
      context.arc(x, y, r + 2.5, 0, 7);
      context.stroke();
    }
  }

  under(event) {
    let found = -1;
    (this.placed ?? []).forEach(({ x, y, z, r }, i) => {
      const inside = Math.hypot(event.offsetX - x, event.offsetY - y) <= Math.max(r, 5);
      if (inside && (found < 0 || z > this.placed[found].z)) found = i;
    });
    return found;
  }

  nameOf(i) {
    const { number, index } = this.scene.atoms[i];
    return `${this.elements.symbols[number]}${index}`;
  }

  hover(event) {
    const i = this.under(event);
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const place = this.scene.atoms[i].position.map((v) => v.toFixed(3).replace("-", MINUS)).join("  ");
    this.tip.replaceChildren(make("div", { className: "who" }, this.nameOf(i)), make("div", {}, `${place} Å`));
    this.tip.style.left = `${Math.min(event.offsetX + 14, this.canvas.clientWidth - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${Math.max(2, event.offsetY - 48)}px`;
  }

  // One after another: two atoms give a distance, three an angle; a fourth begins anew.
  pick(event) {
    const i = this.under(event);
    if (i < 0) this.picked = [];
    else if (this.picked.includes(i)) this.picked = this.picked.filter((other) => other !== i);
    else this.picked = this.picked.length === 3 ? [i] : [...this.picked, i];
    this.measure();
    this.draw();
  }

  measure() {
    const names = this.picked.map((i) => this.nameOf(i)).join(" – ");
    const at = this.picked.map((i) => this.scene.atoms[i].position);
    let text = names;
    if (at.length === 2) text += `: ${norm(plus(at[0], at[1], -1)).toFixed(3)} Å`;
    if (at.length === 3) {
      const [p, q] = [plus(at[0], at[1], -1), plus(at[2], at[1], -1)];
      text += `: ${((Math.acos(Math.max(-1, Math.min(1, dot(p, q) / norm(p) / norm(q)))) * 180) / Math.PI).toFixed(1)}°`;
    }
    byId("measured").textContent = text;
  }
}
