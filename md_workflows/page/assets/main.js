// What is asked for (filter, facets, box, order, selection) and who has to hear of it.

const byId = (id) => document.getElementById(id);

// An element with properties and children; text stays text, whatever is in it.
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function options(select, entries, chosen, empty = "") {
  select.replaceChildren(...entries.map((entry) => {
    const [value, text] = Array.isArray(entry) ? entry : [entry, entry || empty];
    return make("option", { value }, text);
  }));
  select.value = chosen ?? "";
}

class Main {
  constructor(page) {
    Object.assign(this, { page, test: null, box: null, selected: null, sorted: null, facets: new Map() });
    this.order = Int32Array.from({ length: page.count }, (_, row) => row);
    const select = (row) => this.select(row);
    this.table = new Table(page, { select, sort: (column) => this.sort(column) });
    this.plot = new Plot(page, { select: (row) => this.select(row), box: (box) => this.setBox(box) });
    this.detail = new Detail(page);
    this.buildFacets();
    this.buildColumns();
    this.listen();
    this.refresh();
  }

  listen() {
    let waiting = 0;
    const small = this.page.count <= 20000;
    byId("filter").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.readFilter(), small ? 60 : 250);
    });
    byId("filter").addEventListener("change", () => this.readFilter());
    byId("clear-box").addEventListener("click", () => this.setBox(null));
    byId("save-csv").addEventListener("click", () => offer(`${fileName(this.page.title)}.csv`, csvOf(this.page, this.page.columns, this.rows)));
    byId("theme").addEventListener("click", () => this.switchTheme());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    document.addEventListener("keydown", (event) => {
      const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
      if (event.key === "/" && !typing) {
        event.preventDefault();
        byId("filter").focus();
      }
      if (event.key === "Escape") {
        event.preventDefault(); // a search field would empty itself
        if (this.box) this.setBox(null);
        byId("table-port").focus();
      }
      if (event.target.id === "filter" && (event.key === "Enter" || event.key === "ArrowDown")) byId("table-port").focus();
    });
    new ResizeObserver(() => this.detail.curves && this.detail.drawCurves()).observe(byId("curves"));
  }

  switchTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    this.repaint();
  }

  repaint() {
    themed.clear();
    this.plot.draw();
    this.detail.viewer.draw();
    if (this.detail.curves) this.detail.drawCurves();
  }

  readFilter() {
    const field = byId("filter");
    try {
      this.test = compileFilter(field.value, this.page);
      field.removeAttribute("aria-invalid");
      byId("filter-error").textContent = "";
    } catch (error) {
      if (!(error instanceof FilterError)) throw error;
      field.setAttribute("aria-invalid", "true");
      byId("filter-error").textContent = error.message;
      return;
    }
    this.refresh();
  }

  // Columns of a few values become buttons; status comes first.
  buildFacets() {
    const few = this.page.columns.filter((c) => (c.isText || c.kind === "boolean") && c.name !== this.page.identifier);
    const counted = few.map((column) => [column, column.counted(8)]).filter(([, counts]) => counts && counts.size > 1 && [...counts.keys()].every((value) => String(value).length <= 24));
    counted.sort((a, b) => (b[0].name === "status") - (a[0].name === "status"));
    const groups = counted.slice(0, 3).map(([column, counts]) => {
      const buttons = [...counts].sort((a, b) => b[1] - a[1]).map(([value, count]) => this.facet(column, value, count));
      const group = make("div", { className: "facet", role: "group", title: column.meaning }, make("span", {}, column.name), ...buttons);
      group.setAttribute("aria-label", column.name);
      return group;
    });
    byId("facets").replaceChildren(...groups);
  }

  facet(column, value, count) {
    const text = value === "" ? "(empty)" : shown(value);
    const button = make("button", { type: "button", className: "chip" }, text, make("small", {}, count.toLocaleString("en")));
    if (column.name === "status") button.classList.add("status", tone(value));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      const chosen = this.facets.get(column) ?? new Set();
      if (!chosen.delete(value)) chosen.add(value);
      if (chosen.size) this.facets.set(column, chosen);
      else this.facets.delete(column);
      button.setAttribute("aria-pressed", String(chosen.has(value)));
      this.refresh();
    });
    return button;
  }

  buildColumns() {
    const entries = this.table.columns.slice(1).map((column) => {
      const check = make("input", { type: "checkbox", checked: true });
      check.addEventListener("change", () => this.table.hide(column, !check.checked));
      return make("label", { title: column.meaning }, check, column.name);
    });
    byId("columns").replaceChildren(...entries);
  }

  // Up, down, as in the file. Rows without a value come last in both.
  sort(column) {
    const same = this.sorted?.column === column;
    this.sorted = !same ? { column, descending: false } : this.sorted.descending ? null : { column, descending: true };
    this.order = orderOf(this.page, this.sorted);
    this.refresh();
    if (this.selected !== null) this.table.reveal(this.selected);
  }

  setBox(box) {
    this.box = box;
    this.refresh();
  }

  refresh() {
    const facets = [...this.facets];
    this.context = this.order.filter(
      (row) => (!this.test || this.test(row)) && facets.every(([column, chosen]) => chosen.has(column.values[row])),
    );
    const sides = this.box?.map(({ name, range: [low, high] }) => [this.page.byName.get(name).numbers, low, high]);
    const within = (row) => sides.every(([numbers, low, high]) => numbers[row] >= low && numbers[row] <= high);
    this.rows = sides ? this.context.filter(within) : this.context;
    this.tell();
  }

  tell() {
    const [some, all] = [this.rows.length, this.page.count].map((n) => n.toLocaleString("en"));
    byId("count").textContent = some === all ? `${all} rows` : `${some} of ${all} rows`;
    byId("clear-box").hidden = !this.box;
    byId("clear-box").textContent = (this.box ?? []).map(({ name, range }) => `${shown(range[0])} ≤ ${name} ≤ ${shown(range[1])}`).join(", ") + "  ✕";
    this.table.show(this.rows, this.selected, this.sorted);
    this.plot.show(this.rows, this.context, this.selected, this.box);
  }

  select(row) {
    this.selected = row;
    this.table.reveal(row);
    this.tell();
    return this.detail.show(row);
  }
}

function orderOf(page, sorted) {
  const order = Int32Array.from({ length: page.count }, (_, row) => row);
  if (!sorted) return order;
  const { column, descending } = sorted;
  const { values, numbers } = column;
  const sign = descending ? -1 : 1;
  const there = (row) => (numbers ? !Number.isNaN(numbers[row]) : values[row] !== null);
  const present = order.filter(there);
  const absent = order.filter((row) => !there(row));
  if (numbers) present.sort((a, b) => sign * (numbers[a] < numbers[b] ? -1 : numbers[a] > numbers[b] ? 1 : 0) || a - b);
  else {
    const collator = new Intl.Collator("en", { numeric: true });
    const keys = values.map(String);
    present.sort((a, b) => sign * collator.compare(keys[a], keys[b]) || a - b);
  }
  order.set(present);
  order.set(absent, present.length);
  return order;
}

async function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old: it lacks DecompressionStream.");
  const page = await loadPage();
  byId("title").textContent = page.title;
  byId("about").textContent = page.about;
  byId("left-out").textContent = page.left_out;
  for (const id of ["about", "left-out"]) byId(id).hidden = !byId(id).textContent;
  byId("app").hidden = false;
  byId("loading").remove();
  const main = new Main(page);
  if (page.count) main.select(0);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  document.documentElement.dataset.ready = "failed";
  (byId("loading") ?? byId("filter-error")).textContent = `The page cannot be shown: ${error.message}`;
  throw error;
});
