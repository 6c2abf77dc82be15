// What can be taken away from the page: the table as CSV, a structure as extended XYZ or CIF.

const csvField = (value) => {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

function csvOf(page, columns, rows) {
  const lines = [columns.map((column) => csvField(column.name)).join(",")];
  for (const row of rows) lines.push(columns.map((column) => csvField(column.values[row])).join(","));
  return lines.join("\r\n") + "\r\n";
}

// The cell is exact, positions are float32 in the page: about 1e-6 Å.
function extxyzOf(structure, page, row) {
  const cell = structure.cell.flat();
  const facts = cell.some((v) => v !== 0) ? [`Lattice="${cell.join(" ")}"`] : [];
  facts.push("Properties=species:S:1:pos:R:3", `pbc="${structure.pbc.map((p) => (p ? "T" : "F")).join(" ")}"`);
  for (const column of page.columns) {
    const value = column.values[row];
    if (value !== null) facts.push(`${quoted(column.name)}=${infoOf(value)}`);
  }
  const lines = [String(structure.numbers.length), facts.join(" ")];
  for (let i = 0; i < structure.numbers.length; i++) {
    lines.push([page.elements.symbols[structure.numbers[i]], ...positionOf(structure, i).map((v) => v.toFixed(8))].join(" "));
  }
  return lines.join("\n") + "\n";
}

const positionOf = (structure, i) => [...structure.positions.subarray(3 * i, 3 * i + 3)];
const quoted = (text) => (/^[\w.+-]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, "\\$&").replace(/\r?\n/g, "\\n")}"`);

function infoOf(value) {
  if (typeof value === "boolean") return value ? "T" : "F";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : String(value).toLowerCase().replace("infinity", "inf");
  const text = quoted(value);
  return text.startsWith('"') ? text : `"${text}"`;
}

// In P1, for cells of three vectors.
function cifOf(structure, page, row) {
  const [a, b, c] = structure.cell;
  const angle = (p, q) => (Math.acos(dot(p, q) / norm(p) / norm(q)) * 180) / Math.PI;
  const name = page.names[row].replace(/[^\w.+-]+/g, "_");
  const lines = [`data_${name}`, "_symmetry_space_group_name_H-M 'P 1'", "_symmetry_Int_Tables_number 1"];
  [["a", a], ["b", b], ["c", c]].forEach(([which, v]) => lines.push(`_cell_length_${which} ${norm(v).toFixed(8)}`));
  [["alpha", b, c], ["beta", a, c], ["gamma", a, b]].forEach(([which, p, q]) => lines.push(`_cell_angle_${which} ${angle(p, q).toFixed(6)}`));
  lines.push("loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'", "loop_", "_atom_site_label", "_atom_site_type_symbol");
  lines.push(...["x", "y", "z"].map((v) => `_atom_site_fract_${v}`), "_atom_site_occupancy");
  const fractional = fractionalOf(structure.cell);
  for (let i = 0; i < structure.numbers.length; i++) {
    const symbol = page.elements.symbols[structure.numbers[i]];
    lines.push([`${symbol}${i + 1}`, symbol, ...fractional(positionOf(structure, i)).map((f) => f.toFixed(8)), "1.0"].join(" "));
  }
  return lines.join("\n") + "\n";
}

const hasVolume = (structure) => Math.abs(dot(structure.cell[0], cross(structure.cell[1], structure.cell[2]))) > 1e-9;
const fileName = (text) => text.replace(/[^\w.+-]+/g, "_").slice(0, 80) || "structure";

function offer(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
