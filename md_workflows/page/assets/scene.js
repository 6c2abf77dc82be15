// From a structure to what is drawn: atoms wrapped into the cell and repeated, bonds, edges of the cell. Lengths in Å.

const BOND_FACTOR = 1.2; // times the sum of the covalent radii
const ON_A_FACE = 0.3; // Å: atoms this near to a face are drawn on the opposite one too

// H He, B-Ne, Si-Ar, As-Kr, Te-Xe, At, Rn
const NON_METALS = new Set([1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85, 86]);

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const norm = (a) => Math.hypot(...a);
const plus = (a, b, times = 1) => a.map((x, i) => x + times * b[i]);
const unit = (a) => a.map((x) => x / norm(a));

// Cell vectors that are zero are replaced by normals of the others, so that the cell can be inverted.
function completed(cell) {
  const rows = cell.map((v) => (norm(v) > 1e-9 ? v : null));
  const there = rows.filter(Boolean);
  if (there.length === 0) return [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  if (there.length === 1) {
    const along = unit(there[0]);
    const aside = Math.abs(along[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    const first = unit(cross(along, aside));
    const normals = [first, cross(along, first)];
    return rows.map((row) => row ?? normals.shift());
  }
  return rows.map((row) => row ?? unit(cross(...there)));
}

// Of a cell [3,3], rows are vectors: the function that gives fractional coordinates.
function fractionalOf(cell) {
  const [a, b, c] = cell;
  const volume = dot(a, cross(b, c));
  const rows = [cross(b, c), cross(c, a), cross(a, b)];
  return (p) => rows.map((row) => dot(row, p) / volume);
}

const isFinite3 = (structure) => [...structure.positions, ...structure.cell.flat()].every(Number.isFinite);
const repeats = (structure) => structure.pbc.map((periodic, v) => periodic && norm(structure.cell[v]) > 1e-9);

// copies: how often each periodic direction is repeated.
function buildScene(structure, elements, copies) {
  const periodic = repeats(structure);
  const cell = completed(structure.cell);
  const toFractional = fractionalOf(cell);
  const times = periodic.map((is) => (is ? copies : 1));
  const onFace = cell.map((v) => Math.min(0.1, ON_A_FACE / norm(v)));
  const atoms = [];
  for (let i = 0; i < structure.numbers.length; i++) {
    const at = [...structure.positions.subarray(3 * i, 3 * i + 3)];
    const fractions = toFractional(at).map((f, v) => (periodic[v] ? f - Math.floor(f + onFace[v]) : f));
    const shifts = fractions.map((f, v) => shiftsOf(times[v], periodic[v] && f < onFace[v]));
    for (const x of shifts[0]) for (const y of shifts[1]) for (const z of shifts[2]) {
      const [f, g, h] = [fractions[0] + x, fractions[1] + y, fractions[2] + z];
      const position = [0, 1, 2].map((k) => f * cell[0][k] + g * cell[1][k] + h * cell[2][k]);
      atoms.push({ position, number: structure.numbers[i], index: i });
    }
  }
  const edges = periodic.some(Boolean) ? edgesOf(structure.cell, times) : [];
  const points = [...atoms.map((atom) => atom.position), ...edges.flat()];
  const corner = (pick) => [0, 1, 2].map((k) => points.reduce((best, p) => pick(best, p[k]), pick === Math.min ? Infinity : -Infinity));
  const [low, high] = points.length ? [corner(Math.min), corner(Math.max)] : [[0, 0, 0], [0, 0, 0]];
  const centre = low.map((v, k) => (v + high[k]) / 2);
  const radius = Math.max(1.5, ...points.map((p) => norm(plus(p, centre, -1))).reduce((most, r) => (r > most[0] ? [r] : most), [0])) + 0.8;
  return { atoms, bonds: bondsOf(atoms, elements.radii), edges, centre, radius };
}

const shiftsOf = (times, onFace) => Array.from({ length: times + (onFace ? 1 : 0) }, (_, k) => k);

// The twelve edges of the cell, or four or one of them where some vectors are zero; and of each of its copies.
function edgesOf(cell, times) {
  const there = cell.map((v) => norm(v) > 1e-9);
  const corner = (n) => [0, 1, 2].map((k) => n[0] * cell[0][k] + n[1] * cell[1][k] + n[2] * cell[2][k]);
  const edges = [];
  const most = times.map((t, v) => (there[v] ? t : 0));
  for (let x = 0; x <= most[0]; x++) for (let y = 0; y <= most[1]; y++) for (let z = 0; z <= most[2]; z++) {
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((step, v) => {
      const to = [x + step[0], y + step[1], z + step[2]];
      if (there[v] && to[v] <= most[v]) edges.push([corner([x, y, z]), corner(to)]);
    });
  }
  return edges;
}

// Pairs of atoms nearer than BOND_FACTOR times the sum of their radii, found in boxes of the longest bond.
function bondsOf(atoms, radii) {
  const longest = 2 * BOND_FACTOR * atoms.reduce((most, atom) => Math.max(most, radii[atom.number] ?? 1), 0.1);
  const boxes = new Map();
  const key = (x, y, z) => (x + 512) * 1048576 + (y + 512) * 1024 + (z + 512);
  const boxOf = (position) => position.map((v) => Math.floor(v / longest));
  atoms.forEach((atom, i) => {
    const box = key(...boxOf(atom.position));
    if (!boxes.has(box)) boxes.set(box, []);
    boxes.get(box).push(i);
  });
  const bonds = [];
  atoms.forEach((atom, i) => {
    const [x, y, z] = boxOf(atom.position);
    for (let dx = -1; dx <= 1; dx++) for (let dy = -1; dy <= 1; dy++) for (let dz = -1; dz <= 1; dz++) {
      for (const j of boxes.get(key(x + dx, y + dy, z + dz)) ?? []) {
        if (j <= i) continue;
        const reach = BOND_FACTOR * ((radii[atom.number] ?? 1) + (radii[atoms[j].number] ?? 1));
        const length = norm(plus(atom.position, atoms[j].position, -1));
        if (length < reach && length > 0.3) bonds.push([i, j]);
      }
    }
  });
  return withoutMetalPairs(atoms, bonds);
}

// Metals that are bound to non-metals, as in an oxide, are not bound to each other: the short distances of cations are no bonds.
function withoutMetalPairs(atoms, bonds) {
  const nonMetal = atoms.map((atom) => NON_METALS.has(atom.number));
  const toNonMetal = new Uint8Array(atoms.length);
  for (const [i, j] of bonds) {
    if (nonMetal[j]) toNonMetal[i] = 1;
    if (nonMetal[i]) toNonMetal[j] = 1;
  }
  return bonds.filter(([i, j]) => nonMetal[i] || nonMetal[j] || !(toNonMetal[i] && toNonMetal[j]));
}
