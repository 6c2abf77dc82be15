// What the page holds: blocks of base64 around gzip, unpacked when they are needed.

const bytesOf = (text) =>
  Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

async function unpacked(element) {
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const jsonOf = (buffer) => JSON.parse(new TextDecoder().decode(buffer));
const blocks = (kind) => [...document.querySelectorAll(`script[data-kind="${kind}"]`)];

const SPECIAL = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const plain = (value) => (Array.isArray(value) ? SPECIAL[value[0]] : value);

// One column: its values as they came (`null` where there is none), and as numbers where it can be plotted.
class Column {
  constructor({ name, meaning }, values) {
    this.name = name;
    this.meaning = meaning;
    this.values = values;
    const kinds = new Set(values.map((value) => (value === null ? "none" : typeof value)));
    kinds.delete("none");
    this.kind = kinds.size === 1 ? [...kinds][0] : kinds.size ? "mixed" : "empty";
    if (this.kind === "number") this.numbers = Float64Array.from(values, (value) => (value === null ? NaN : value));
    this.lower = null;
  }

  get isText() {
    return this.kind === "string" || this.kind === "mixed";
  }

  // Decimals that the column is shown with, so that its points stand below each other; null for whole numbers.
  decimals() {
    if (this.places !== undefined) return this.places;
    const sizes = this.numbers.filter((x) => Number.isFinite(x) && x !== 0).map(Math.abs).sort();
    const whole = sizes.length === 0 || this.numbers.every((x) => !Number.isFinite(x) || Number.isInteger(x));
    this.places = whole ? null : Math.min(6, Math.max(0, 4 - Math.floor(Math.log10(sizes[Math.floor(0.9 * (sizes.length - 1))]))));
    return this.places;
  }

  // The value of a row as text. Sizes that the decimals do not suit get digits of their own.
  text(row) {
    const value = this.values[row];
    const places = this.kind === "number" ? this.decimals() : null;
    if (places === null || value === null || !Number.isFinite(value)) return shown(value);
    const size = Math.abs(value);
    if (size >= 1e7 || (value !== 0 && size < 10 ** (1 - places))) return shown(value);
    return value.toFixed(places).replace("-", MINUS);
  }

  // Values in small letters, for free text; made when first searched.
  folded() {
    this.lower ??= this.values.map((value) => (value === null ? "" : String(value).toLowerCase()));
    return this.lower;
  }

  // The different values and how often each comes, or null where they are more than `most`.
  counted(most) {
    const counts = new Map();
    for (const value of this.values) {
      counts.set(value, (counts.get(value) ?? 0) + 1);
      if (counts.size > most) return null;
    }
    return counts;
  }
}

async function loadPage() {
  const page = jsonOf(await unpacked(blocks("page")[0]));
  const values = page.columns.map(() => []);
  for (const element of blocks("rows")) {
    const block = jsonOf(await unpacked(element));
    element.remove();
    block.forEach((column, c) => {
      for (const value of column) values[c].push(plain(value));
    });
  }
  page.columns = page.columns.map((column, c) => new Column(column, values[c]));
  page.byName = new Map(page.columns.map((column) => [column.name, column]));
  page.names = page.byName.get(page.identifier).values.map(String);
  page.count = page.names.length;
  page.attached = blocks("attached");
  page.blocksOf = new Map();
  page.index.forEach((rows, b) => {
    for (const row of rows) page.blocksOf.set(row, [...(page.blocksOf.get(row) ?? []), b]);
  });
  return page;
}

function readStructure(entry, buffer, at) {
  const positionsAt = at + 72;
  const numbersAt = positionsAt + 12 * entry.atoms;
  const cell = new Float64Array(buffer.slice(at, positionsAt));
  return {
    name: entry.name,
    pbc: entry.pbc,
    cell: [0, 1, 2].map((v) => [...cell.subarray(3 * v, 3 * v + 3)]),
    positions: new Float32Array(buffer.slice(positionsAt, numbersAt)),
    numbers: new Uint8Array(buffer.slice(numbersAt, numbersAt + entry.atoms)),
  };
}

// Structures and curves of one row.
async function attachedTo(page, row) {
  const structures = [];
  const curves = [];
  for (const b of page.blocksOf.get(row) ?? []) {
    const buffer = await unpacked(page.attached[b]);
    const length = new DataView(buffer).getUint32(0, true);
    let at = 4 + length;
    for (const entry of jsonOf(buffer.slice(4, at))) {
      const mine = entry.row === row;
      if ("curve" in entry) {
        if (mine) curves.push({ name: entry.curve, x: entry.x.map(plain), y: entry.y.map(plain) });
      } else {
        if (mine) structures.push(readStructure(entry, buffer, at));
        at += 72 + 13 * entry.atoms;
      }
    }
  }
  return { structures, curves };
}
