// All on the selected row: its structures in 3D, its curves, its values with their meanings.

class Detail {
  constructor(page) {
    this.page = page;
    this.row = null;
    this.viewer = new Viewer(page.elements);
    this.cache = new Map();
    this.listen();
  }

  listen() {
    byId("structure-name").addEventListener("change", (event) => this.pick(Number(event.target.value)));
    byId("style").addEventListener("change", (event) => {
      this.viewer.style = event.target.value;
      this.viewer.draw();
    });
    byId("copies").addEventListener("change", (event) => {
      this.viewer.copies = Number(event.target.value);
      this.viewer.rebuild();
    });
    for (const direction of ["a", "b", "c"]) byId(`face-${direction}`).addEventListener("click", () => this.viewer.face(direction));
    byId("reset-view").addEventListener("click", () => {
      this.viewer.reset();
      this.viewer.draw();
    });
    byId("save-extxyz").addEventListener("click", () => this.save("extxyz", extxyzOf));
    byId("save-cif").addEventListener("click", () => this.save("cif", cifOf));
  }

  save(suffix, text) {
    const name = [this.page.names[this.row], this.structure.name].filter(Boolean).join("-");
    offer(`${fileName(name)}.${suffix}`, text(this.structure, this.page, this.row));
  }

  async show(row) {
    if (row === this.row) return;
    this.row = row;
    byId("detail-empty").hidden = row !== null;
    byId("detail-body").hidden = row === null;
    if (row === null) return;
    byId("detail-name").textContent = this.page.names[row];
    this.showValues(row);
    const attached = await this.attached(row);
    if (this.row !== row) return;
    this.showStructures(attached.structures);
    this.showCurves(attached.curves);
  }

  // The last ones stay unpacked, for arrow keys go back and forth.
  async attached(row) {
    if (!this.cache.has(row)) this.cache.set(row, attachedTo(this.page, row));
    if (this.cache.size > 50) this.cache.delete(this.cache.keys().next().value);
    return this.cache.get(row);
  }

  showValues(row) {
    const lines = this.page.columns.map((column) => {
      const value = column.values[row];
      const cell = make("td", { className: `value ${kindOf(column)}` }, typeof value === "number" ? precise(value) : shown(value));
      if (typeof value === "number") cell.title = String(value); // with all its digits
      if (value === null) cell.classList.add("none");
      if (column.name === "status") cell.classList.add("status", tone(value));
      return make("tr", {}, make("th", { scope: "row" }, ...breakable(column.name)), cell, make("td", { className: "meaning" }, column.meaning));
    });
    byId("values").replaceChildren(...lines);
  }

  showStructures(structures) {
    this.structures = structures;
    const there = structures.length > 0;
    byId("structure").hidden = !there;
    byId("structure-none").hidden = there;
    const anyKept = this.page.index.length > 0 || this.page.left_out;
    byId("structure-none").textContent = this.page.left_out || (anyKept ? "No structure is kept for this row." : "This page keeps no structures.");
    options(byId("structure-name"), structures.map((s, i) => [String(i), s.name || "structure"]), "0");
    byId("label-structure").hidden = structures.length < 2;
    if (there) this.pick(0);
  }

  pick(index) {
    this.structure = this.structures[index];
    const whole = isFinite3(this.structure);
    const count = this.structure.numbers.length;
    const periodic = repeats(this.structure).filter(Boolean).length;
    for (const option of byId("copies").options) option.disabled = !periodic || count * Number(option.value) ** periodic > 20000;
    if (byId("copies").selectedOptions[0].disabled) byId("copies").value = "1";
    this.viewer.copies = Number(byId("copies").value);
    this.viewer.show(whole ? this.structure : null);
    byId("save-cif").disabled = !whole || !hasVolume(this.structure);
    const directions = this.structure.pbc.map((p, v) => (p ? "abc"[v] : "")).join("");
    const repeat = directions ? `repeats along ${[...directions].join(", ")}` : "repeats nowhere";
    byId("structure-facts").textContent = whole
      ? `${count} atom${count === 1 ? "" : "s"}, ${repeat}`
      : "Positions or cell are not finite: there is nothing to draw.";
    this.showLegend();
  }

  showLegend() {
    const counts = new Map();
    for (const number of this.structure.numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
    const entries = [...counts].sort((a, b) => a[0] - b[0]).map(([number, count]) => {
      const mark = make("i", {});
      mark.style.background = this.viewer.colour(number);
      return make("span", {}, mark, `${this.page.elements.symbols[number]} `, make("small", {}, String(count)));
    });
    byId("elements").replaceChildren(...entries);
  }

  showCurves(curves) {
    byId("curves").replaceChildren(...curves.map((curve) => this.figure(curve)));
    this.curves = curves;
    this.drawCurves();
  }

  figure(curve) {
    const canvas = make("canvas", { className: "curve" });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${curve.name}: ${curve.x.length} points`);
    return make("figure", {}, make("figcaption", {}, curve.name), canvas);
  }

  drawCurves() {
    [...document.querySelectorAll("canvas.curve")].forEach((canvas, i) => drawCurve(canvas, this.curves[i], this.page.curve_axes));
  }
}

const precise = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(8))).replace(/-/g, MINUS) : shown(value));

function drawCurve(canvas, { name, x, y }, labels) {
  const { context: c, width, height } = fitted(canvas);
  const area = { left: 64, right: width - 14, top: 10, bottom: height - 42 };
  const [xRange, yRange] = [rangeOf(x, false), rangeOf(y, false)];
  if (!xRange || !yRange) return;
  const xs = new Scale(xRange, false, [area.left, area.right]);
  const ys = new Scale(yRange, false, [area.bottom, area.top], 0.08);
  const [xName, yName] = Object.hasOwn(labels, name) ? labels[name] : ["x", "y"];
  drawAxes(c, area, xs, ys, { x: xName, y: yName });
  c.strokeStyle = c.fillStyle = token("--accent");
  c.lineWidth = 1.6;
  c.lineJoin = "round";
  c.beginPath();
  let pen = false;
  x.forEach((value, i) => {
    const drawn = Number.isFinite(value) && Number.isFinite(y[i]);
    if (drawn) c[pen ? "lineTo" : "moveTo"](xs.at(value), ys.at(y[i]));
    pen = drawn;
  });
  c.stroke();
  if (x.length > 40) return;
  x.forEach((value, i) => {
    if (!Number.isFinite(value) || !Number.isFinite(y[i])) return;
    c.beginPath();
    c.arc(xs.at(value), ys.at(y[i]), 3, 0, 7);
    c.fill();
  });
}
