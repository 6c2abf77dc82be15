// The table: only the rows in sight are in the document, however many there are.

const ROW_HEIGHT = 28;

class Table {
  // events: {sort(column), select(row)}
  constructor(page, events) {
    Object.assign(this, { page, events, rows: new Int32Array(0), selected: null, hidden: new Set(), drawnFrom: -1 });
    this.port = byId("table-port");
    this.table = byId("table");
    this.headings = new Map();
    this.columns = [page.byName.get(page.identifier), ...page.columns.filter((column) => column.name !== page.identifier)];
    this.widths = new Map(this.columns.map((column) => [column, this.widthOf(column)]));
    this.build();
    this.port.addEventListener("scroll", () => this.draw(), { passive: true });
    this.port.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.port);
  }

  // Wide enough for the name in two lines and for the longest of some values.
  widthOf(column) {
    const context = document.createElement("canvas").getContext("2d");
    context.font = "13px system-ui, sans-serif";
    const step = Math.max(1, Math.floor(this.page.count / 500));
    let longest = 0;
    for (let row = 0; row < this.page.count; row += step) longest = Math.max(longest, column.text(row).length);
    const parts = column.name.split(/(?<=_)/);
    const heading = Math.max(column.name.length * 0.55 + 2, ...parts.map((part) => part.length));
    const text = context.measureText("0".repeat(Math.max(Math.min(longest, 34), heading))).width;
    return Math.ceil(Math.max(64, text + 30));
  }

  build() {
    const visible = this.columns.filter((column) => !this.hidden.has(column));
    this.visible = visible;
    const group = make("colgroup", {}, ...visible.map((column) => {
      const col = make("col", {});
      col.style.width = `${this.widths.get(column)}px`;
      return col;
    }));
    this.headings.clear();
    const heads = visible.map((column) => {
      const button = make("button", { type: "button", title: column.meaning }, ...breakable(column.name), make("span", { className: "arrow" }));
      button.addEventListener("click", () => this.events.sort(column));
      const th = make("th", { scope: "col", className: kindOf(column) }, button);
      this.headings.set(column, th);
      return th;
    });
    this.body = make("tbody", {});
    this.table.replaceChildren(group, make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.table.style.width = `${visible.reduce((sum, column) => sum + this.widths.get(column), 0)}px`;
    this.table.setAttribute("aria-colcount", String(visible.length));
    this.mark(this.sorted ?? null);
  }

  hide(column, hidden) {
    if (hidden) this.hidden.add(column);
    else this.hidden.delete(column);
    this.build();
    this.draw(true);
  }

  mark(sorted) {
    this.sorted = sorted;
    for (const [column, th] of this.headings) {
      const mine = sorted?.column === column;
      th.setAttribute("aria-sort", mine ? (sorted.descending ? "descending" : "ascending") : "none");
      th.querySelector(".arrow").textContent = mine ? (sorted.descending ? "▼" : "▲") : "";
    }
  }

  show(rows, selected, sorted) {
    const same = rows === this.rows;
    Object.assign(this, { rows, selected });
    this.mark(sorted);
    this.table.setAttribute("aria-rowcount", String(rows.length + 1));
    byId("table-empty").hidden = rows.length > 0;
    if (!same) this.port.scrollTop = Math.min(this.port.scrollTop, Math.max(0, rows.length * ROW_HEIGHT - this.port.clientHeight));
    this.draw(true);
  }

  draw(again = false) {
    const head = this.table.tHead.offsetHeight;
    const inSight = Math.ceil(this.port.clientHeight / ROW_HEIGHT) + 1;
    const top = Math.floor(this.port.scrollTop / ROW_HEIGHT);
    const from = Math.max(0, Math.min(top, this.rows.length - inSight) - 6);
    const to = Math.min(this.rows.length, top + inSight + 6);
    if (!again && from === this.drawnFrom && to === this.drawnTo) return;
    [this.drawnFrom, this.drawnTo, this.headHeight] = [from, to, head];
    const lines = [];
    for (let at = from; at < to; at++) lines.push(this.lineOf(at));
    this.body.replaceChildren(gap(from), ...lines, gap(this.rows.length - to));
    this.port.setAttribute("aria-activedescendant", this.selected === null ? "" : `row-${this.selected}`);
  }

  lineOf(at) {
    const row = this.rows[at];
    const cells = this.visible.map((column) => {
      const value = column.values[row];
      const cell = make("td", { className: kindOf(column) }, column.text(row));
      if (value === null) cell.classList.add("none");
      if (column.isText && value !== null) cell.title = String(value);
      if (column.name === "status") cell.classList.add("status", tone(value));
      return cell;
    });
    const tr = make("tr", { id: `row-${row}` }, ...cells);
    tr.setAttribute("aria-rowindex", String(at + 2));
    tr.setAttribute("aria-selected", String(row === this.selected));
    if (at % 2) tr.classList.add("odd");
    tr.addEventListener("click", () => this.events.select(row));
    return tr;
  }

  key(event) {
    if (event.target !== this.port || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((this.port.clientHeight - this.headHeight) / ROW_HEIGHT) - 1);
    const last = this.rows.length - 1;
    const here = this.selected === null ? -1 : this.rows.indexOf(this.selected);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, PageDown: here + page, PageUp: here - page, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.events.select(this.rows[Math.max(0, Math.min(last, to))]);
  }

  reveal(row) {
    const at = this.rows.indexOf(row);
    if (at < 0) return;
    const height = this.port.clientHeight - this.table.tHead.offsetHeight;
    const top = at * ROW_HEIGHT;
    if (top < this.port.scrollTop) this.port.scrollTop = top;
    else if (top + ROW_HEIGHT > this.port.scrollTop + height) this.port.scrollTop = top + ROW_HEIGHT - height;
  }
}

const kindOf = (column) => (column.kind === "number" ? "number" : "text");
const GOOD = ["converged", "ok", "done", "finished", "passed", "stable"];
const BAD = ["failed", "error", "diverged"];
const tone = (value) => (GOOD.includes(value) ? "good" : BAD.includes(value) ? "bad" : "other");

function gap(rows) {
  const tr = make("tr", { className: "gap" });
  tr.style.height = `${rows * ROW_HEIGHT}px`;
  tr.setAttribute("aria-hidden", "true");
  return tr;
}

// A name that may be broken after its underscores.
const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, document.createElement("wbr")]);
