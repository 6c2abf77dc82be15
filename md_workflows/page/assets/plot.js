// The plot beside the table: points or a histogram of the rows that pass the filter. A box drawn in it filters further.

const MARGIN = { left: 64, right: 16, top: 12, bottom: 44, bar: 78 };

class Plot {
  // events: {hover(row), select(row), box(box)}
  constructor(page, events) {
    Object.assign(this, { page, events, rows: [], context: [], selected: null, box: null, drag: null, hovered: null });
    this.canvas = byId("plot");
    this.tip = byId("plot-tip");
    this.numeric = page.columns.filter((column) => column.kind === "number");
    this.grouped = page.columns.filter((column) => column.isText || column.kind === "boolean").filter((c) => c.counted(CATEGORIES.length));
    this.mode = "scatter";
    this.fillSelects();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  fillSelects() {
    const chosen = this.page.plotted;
    const [first, second] = this.numeric.map((column) => column.name);
    options(byId("plot-x"), this.numeric.map((c) => c.name), chosen.x ?? first);
    options(byId("plot-y"), this.numeric.map((c) => c.name), chosen.y ?? second ?? first);
    const colours = [...this.grouped, ...this.numeric].map((c) => c.name);
    options(byId("plot-colour"), ["", ...colours], chosen.colour ?? this.grouped[0]?.name ?? "", "one colour");
  }

  listen() {
    for (const id of ["plot-x", "plot-y", "plot-colour", "log-x", "log-y"]) byId(id).addEventListener("change", () => this.draw());
    for (const mode of ["scatter", "histogram"]) {
      byId(`mode-${mode}`).addEventListener("click", () => {
        this.mode = mode;
        for (const each of ["scatter", "histogram"]) byId(`mode-${each}`).setAttribute("aria-pressed", String(each === mode));
        for (const id of ["label-y", "label-colour"]) byId(id).hidden = mode === "histogram";
        byId("text-log-y").textContent = mode === "histogram" ? "log rows" : "log";
        this.draw();
      });
    }
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", (event) => this.release(event));
    this.canvas.addEventListener("pointercancel", () => (this.drag = null));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
  }

  // context: rows that pass the filter; rows: those of them in the box as well.
  show(rows, context, selected, box) {
    Object.assign(this, { rows, context, selected, box });
    this.draw();
  }

  draw() {
    const { context: c, width, height } = fitted(this.canvas);
    c.clearRect(0, 0, width, height);
    const x = this.page.byName.get(byId("plot-x").value);
    this.placed = null;
    if (!x) return this.say(c, width, height, "No column holds numbers.");
    const scatter = this.mode === "scatter";
    const colour = scatter ? this.page.byName.get(byId("plot-colour").value) : undefined;
    const bar = colour?.kind === "number" ? MARGIN.bar : 0;
    const area = { left: MARGIN.left, right: width - MARGIN.right - bar, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const logX = byId("log-x").checked;
    const range = rangeOf(valuesAt(x.numbers, this.context), logX);
    if (!range) return this.say(c, width, height, `No row that is shown has a ${logX ? "positive " : ""}value of ${x.name}.`);
    if (scatter) this.drawPoints(c, area, x, new Scale(range, logX, [area.left, area.right]), colour);
    else this.drawBars(c, area, x, new Scale(range, logX, [area.left, area.right], 0));
  }

  say(context, width, height, text) {
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = token("--soft");
    context.textAlign = "center";
    context.fillText(text, width / 2, height / 2, width - 20);
    byId("plot-note").textContent = "";
    this.legend(null);
  }

  noteMissing(missing) {
    const [some, all] = [missing, this.context.length].map((n) => n.toLocaleString("en"));
    byId("plot-note").textContent = missing ? `${some} of ${all} rows have no value to place here.` : "";
  }

  drawPoints(c, area, xColumn, x, colour) {
    const yColumn = this.page.byName.get(byId("plot-y").value);
    const logY = byId("log-y").checked;
    const range = rangeOf(valuesAt(yColumn.numbers, this.context), logY);
    if (!range) return this.say(c, this.canvas.clientWidth, this.canvas.clientHeight, `No row that is shown has a value of ${yColumn.name}.`);
    const y = new Scale(range, logY, [area.bottom, area.top]);
    drawAxes(c, area, x, y, { x: xColumn.name, y: yColumn.name });
    const placed = { x: new Float32Array(this.page.count).fill(NaN), y: new Float32Array(this.page.count).fill(NaN) };
    let missing = 0;
    for (const row of this.context) {
      placed.x[row] = x.at(xColumn.numbers[row]);
      placed.y[row] = y.at(yColumn.numbers[row]);
      if (!Number.isFinite(placed.x[row] + placed.y[row])) missing++;
    }
    this.placed = placed;
    this.scales = { x, y, names: [xColumn.name, yColumn.name] };
    const size = [300, 3000, 20000].findIndex((n) => this.context.length < n);
    const radius = [4.5, 3, 2, 1.4].at(size);
    c.globalAlpha = [0.9, 0.8, 0.65, 0.5].at(size);
    if (this.box) this.dots(c, this.context, () => token("--faint"), radius);
    this.dots(c, this.rows, this.colouring(colour, c, area), radius);
    c.globalAlpha = 1;
    for (const row of [this.hovered, this.selected]) if (row !== null) this.ring(c, row, radius);
    this.drawBox(c, area, this.box);
    this.noteMissing(missing);
  }

  // Dots of one colour are one path: ten times faster than each for itself.
  dots(c, rows, colourOf, radius) {
    const groups = new Map();
    const { x, y } = this.placed;
    for (const row of rows) {
      if (!Number.isFinite(x[row] + y[row])) continue;
      const colour = colourOf(row);
      if (!groups.has(colour)) groups.set(colour, []);
      groups.get(colour).push(row);
    }
    for (const [colour, members] of groups) {
      c.fillStyle = colour;
      c.beginPath();
      for (const row of members) {
        c.moveTo(x[row] + radius, y[row]);
        c.arc(x[row], y[row], radius, 0, 7);
      }
      c.fill();
    }
  }

  ring(c, row, radius) {
    const [x, y] = [this.placed.x[row], this.placed.y[row]];
    if (!Number.isFinite(x + y)) return;
    for (const [width, colour] of [[5, token("--paper")], [2.5, token("--accent")]]) {
      c.lineWidth = width;
      c.strokeStyle = colour;
      c.beginPath();
      c.arc(x, y, radius + 4, 0, 7);
      c.stroke();
    }
  }

  colouring(column, c, area) {
    if (!column) {
      this.legend(null);
      return () => token("--accent");
    }
    if (column.kind === "number") {
      this.legend(null);
      const range = rangeOf(valuesAt(column.numbers, this.context), false);
      if (!range) return () => token("--faint");
      this.colourBar(c, area, column.name, range);
      const [low, high] = range;
      const none = token("--faint");
      return (row) => (Number.isFinite(column.numbers[row]) ? viridis(high > low ? (column.numbers[row] - low) / (high - low) : 0.5) : none);
    }
    const counts = column.counted(CATEGORIES.length);
    const colours = new Map([...counts.keys()].sort(byText).map((value, i) => [value, CATEGORIES[i]]));
    this.legend(colours);
    return (row) => colours.get(column.values[row]);
  }

  legend(colours) {
    const entries = [...(colours ?? [])].map(([value, colour]) => {
      const mark = make("i", {});
      mark.style.background = colour;
      return make("span", {}, mark, shown(value));
    });
    byId("plot-legend").replaceChildren(...entries);
  }

  colourBar(c, area, name, range) {
    const scale = new Scale(range, false, [area.bottom, area.top], 0);
    const left = area.right + 12;
    for (let at = area.top; at < area.bottom; at++) {
      c.fillStyle = viridis((area.bottom - at) / (area.bottom - area.top));
      c.fillRect(left, at, 9, 1.5);
    }
    c.fillStyle = token("--soft");
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (const value of scale.ticks(4)) c.fillText(tickText(value, false), left + 13, scale.at(value), MARGIN.bar - 34);
    c.save();
    c.translate(left + MARGIN.bar - 4, (area.top + area.bottom) / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.fillStyle = token("--ink");
    c.font = "12px system-ui, sans-serif";
    c.fillText(name, 0, 0, area.bottom - area.top);
    c.restore();
  }

  drawBars(c, area, column, x) {
    this.legend(null);
    const numbers = valuesAt(column.numbers, this.context).filter((v) => Number.isFinite(x.at(v)));
    this.bars = new Bars(rangeOf(numbers, x.log), x, area, numbers.length);
    const all = this.bars.counts(numbers);
    const logY = byId("log-y").checked;
    const y = new Scale(logY ? [0.5, Math.max(...all)] : [0, Math.max(...all) * 1.05], logY, [area.bottom, area.top], 0);
    drawAxes(c, area, x, y, { x: column.name, y: "rows" });
    this.scales = { x, names: [column.name] };
    this.bars.draw(c, all, y, token("--faint"));
    this.bars.draw(c, this.bars.counts(valuesAt(column.numbers, this.rows)), y, token("--accent"));
    const mark = this.selected === null ? NaN : x.at(column.numbers[this.selected]);
    if (Number.isFinite(mark)) {
      [c.strokeStyle, c.lineWidth] = [token("--warm"), 2];
      line(c, mark, area.top, mark, area.bottom);
    }
    this.drawBox(c, area, this.box);
    this.noteMissing(this.context.length - numbers.length);
  }

  drawBox(c, area, box) {
    const same = box && box.map((side) => side.name).join("\n") === this.scales.names.join("\n");
    if (!same) return;
    const [x1, x2] = box[0].range.map((v) => this.scales.x.at(v));
    const [y2, y1] = box[1] ? box[1].range.map((v) => this.scales.y.at(v)) : [area.bottom, area.top];
    this.frame(c, x1, y1, x2, y2);
  }

  frame(c, x1, y1, x2, y2) {
    c.strokeStyle = token("--accent");
    c.lineWidth = 1;
    c.setLineDash([4, 3]);
    c.strokeRect(x1, y1, x2 - x1, y2 - y1);
    c.setLineDash([]);
  }

  near(event) {
    if (!this.placed) return null;
    let [best, found] = [14 ** 2, null];
    const { x, y } = this.placed;
    for (const row of this.rows) {
      const distance = (x[row] - event.offsetX) ** 2 + (y[row] - event.offsetY) ** 2;
      if (distance < best) [best, found] = [distance, row];
    }
    return found;
  }

  hover(row, event) {
    this.tip.hidden = row === null;
    if (row !== null) {
      const names = [...new Set([...this.scales.names, byId("plot-colour").value])].filter(Boolean);
      const lines = names.map((name) => make("div", {}, `${name}  `, make("b", {}, shown(this.page.byName.get(name).values[row]))));
      this.tip.replaceChildren(make("div", { className: "who" }, this.page.names[row]), ...lines);
      const room = this.canvas.clientWidth - this.tip.offsetWidth - 4;
      this.tip.style.left = `${Math.max(2, Math.min(event.offsetX + 14, room))}px`;
      this.tip.style.top = `${Math.max(2, event.offsetY - this.tip.offsetHeight - 10)}px`;
    }
    this.canvas.style.cursor = row === null ? "crosshair" : "pointer";
    if (row === this.hovered) return;
    this.hovered = row;
    this.draw();
  }

  press(event) {
    this.drag = { x: event.offsetX, y: event.offsetY };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.drag) return this.hover(this.mode === "scatter" ? this.near(event) : null, event);
    this.tip.hidden = true;
    this.draw();
    this.frame(this.canvas.getContext("2d"), this.drag.x, this.mode === "scatter" ? this.drag.y : MARGIN.top, event.offsetX,
      this.mode === "scatter" ? event.offsetY : this.canvas.clientHeight - MARGIN.bottom);
  }

  release(event) {
    const start = this.drag;
    this.drag = null;
    if (!start || !this.scales) return;
    const moved = Math.hypot(event.offsetX - start.x, event.offsetY - start.y) > 5;
    if (!moved) {
      const row = this.mode === "scatter" ? this.near(event) : null;
      if (row !== null) this.events.select(row);
      else if (this.box) this.events.box(null);
      return;
    }
    const side = (scale, a, b, name) => ({ name, range: [scale.value(a), scale.value(b)].sort((p, q) => p - q) });
    const [x, y] = this.scales.names;
    if (this.mode === "histogram") return this.events.box([{ name: x, range: this.bars.between(start.x, event.offsetX) }]);
    const box = [side(this.scales.x, start.x, event.offsetX, x), side(this.scales.y, start.y, event.offsetY, y)];
    this.events.box(box);
  }
}
