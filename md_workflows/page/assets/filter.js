// The language of the filter: comparisons of columns, and words that are looked for in all text. Nothing is evaluated.
//   energy_above_hull_eV < 0.05 and not status = failed      0 <= gap_eV < 2      energy_eV / natoms < -3      Cu "two words"

const TOKEN = /\s+|(`[^`]*`)|("[^"]*"|'[^']*')|(<=|>=|==|!=|!~|&&|\|\||[<>=~!()])|((?:(?!&&|\|\|)[^\s()<>=!~"'`])+)/y;
const COMPARISONS = new Set(["<", "<=", ">", ">=", "=", "==", "!=", "~", "!~"]);
const CONSTANTS = new Map([["none", null], ["nan", NaN], ["inf", Infinity], ["true", true], ["false", false]]);

class FilterError extends Error {}

function tokens(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    if (!match) throw new FilterError("A quotation mark is never closed.");
    const [all, ticked, quoted, operator, word] = match;
    if (ticked) found.push({ kind: "column", text: ticked.slice(1, -1) });
    else if (quoted) found.push({ kind: "text", text: quoted.slice(1, -1) });
    else if (operator) found.push({ kind: { "&&": "and", "||": "or", "!": "not" }[operator] ?? operator, text: operator });
    else if (word) found.push(wordToken(all));
  }
  return found;
}

function wordToken(word) {
  const low = word.toLowerCase();
  if (["and", "or", "not"].includes(low)) return { kind: low, text: word };
  if (["+", "-", "*", "/"].includes(word)) return { kind: word, text: word };
  return { kind: "word", text: word };
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1].toLowerCase() !== b[j - 1].toLowerCase()));
    row = next;
  }
  return row[b.length];
}

function unknownColumn(name, page) {
  const near = page.columns.map((column) => [distance(name, column.name), column.name]).sort((a, b) => a[0] - b[0])[0];
  return new FilterError(`No column is called ‘${name}’; the nearest is ‘${near[1]}’.`);
}

class FilterParser {
  constructor(text, page) {
    this.page = page;
    this.tokens = tokens(text);
    this.at = 0;
  }

  get kind() {
    return this.tokens[this.at]?.kind ?? "end";
  }

  take(...kinds) {
    return kinds.includes(this.kind) ? this.tokens[this.at++] : null;
  }

  whole() {
    if (!this.tokens.length) return null;
    const test = this.either();
    if (this.kind !== "end") throw new FilterError(`‘${this.tokens[this.at].text}’ is one too many.`);
    return test;
  }

  either() {
    const tests = [this.both()];
    while (this.take("or")) tests.push(this.both());
    return tests.length === 1 ? tests[0] : (row) => tests.some((test) => test(row));
  }

  both() {
    const tests = [this.negated()];
    while (this.take("and") || !["or", ")", "end"].includes(this.kind)) tests.push(this.negated());
    return tests.length === 1 ? tests[0] : (row) => tests.every((test) => test(row));
  }

  negated() {
    if (!this.take("not")) return this.primary();
    const test = this.negated();
    return (row) => !test(row);
  }

  primary() {
    if (this.kind === "(") {
      const start = this.at;
      const compared = this.attempt(() => this.comparison(true));
      if (compared) return compared;
      this.at = start + 1;
      const test = this.either();
      if (!this.take(")")) throw new FilterError("A bracket is never closed.");
      return test;
    }
    return this.comparison(false);
  }

  attempt(parse) {
    try {
      return parse();
    } catch (error) {
      if (error instanceof FilterError) return null;
      throw error;
    }
  }

  comparison(must) {
    let left = this.sum();
    const tests = [];
    while (COMPARISONS.has(this.kind)) {
      const operator = this.tokens[this.at++].text;
      const right = this.sum();
      tests.push(compare(left, operator, right, this.page));
      left = right;
    }
    if (tests.length) return tests.length === 1 ? tests[0] : (row) => tests.every((test) => test(row));
    if (must) throw new FilterError("Brackets hold no comparison.");
    return this.alone(left);
  }

  // A term without a comparison: a column of truth values, or a text to look for.
  alone(term) {
    if (term.column?.kind === "boolean") return (row) => term.value(row) === true;
    if (term.column) throw new FilterError(`‘${term.column.name}’ wants a comparison, as in ‘${term.column.name} > 0’.`);
    if (term.word === undefined) throw new FilterError("A sum wants a comparison, as in ‘energy_eV / natoms < -3’.");
    const word = term.word.toLowerCase();
    const texts = this.page.columns.filter((column) => column.isText).map((column) => column.folded());
    const other = this.page.byName.get(this.page.identifier).isText ? [] : [this.page.names];
    return (row) => [...texts, ...other].some((values) => values[row].includes(word));
  }

  sum() {
    return this.chain(["+", "-"], () => this.chain(["*", "/"], () => this.term()));
  }

  chain(operators, next) {
    let left = next();
    for (let operator; (operator = this.take(...operators)); ) {
      left = arithmetic(left, operator.kind, next(), this.page);
    }
    return left;
  }

  term() {
    if (this.take("(")) {
      const inner = this.sum();
      if (!this.take(")")) throw new FilterError("A bracket is never closed.");
      return inner;
    }
    const token = this.take("column", "text", "word");
    if (!token) {
      const here = this.tokens[this.at];
      throw new FilterError(here ? `Something is missing before ‘${here.text}’.` : "Something is missing at the end.");
    }
    return this.meaning(token);
  }

  meaning({ kind, text }) {
    const column = kind === "text" ? undefined : this.page.byName.get(text);
    if (column) return { column, value: (row) => column.values[row] };
    if (kind === "column") throw unknownColumn(text, this.page);
    const low = text.toLowerCase();
    if (kind === "word" && CONSTANTS.has(low)) return { word: text, constant: CONSTANTS.get(low), value: () => CONSTANTS.get(low) };
    const number = kind === "word" && text !== "" ? Number(text) : NaN;
    const constant = Number.isNaN(number) ? text : number;
    return { word: text, constant, quoted: kind === "text", value: () => constant };
  }
}

const isNumeric = (term) => term.number || term.column?.kind === "number";

function numberOf(term, page) {
  if (isNumeric(term) || typeof term.constant === "number") return term.value;
  if (term.column) throw new FilterError(`‘${term.column.name}’ does not hold numbers.`);
  throw term.quoted ? new FilterError(`‘${term.word}’ is no number.`) : unknownColumn(term.word, page);
}

function arithmetic(left, operator, right, page) {
  const [a, b] = [numberOf(left, page), numberOf(right, page)];
  const of = { "+": (x, y) => x + y, "-": (x, y) => x - y, "*": (x, y) => x * y, "/": (x, y) => x / y }[operator];
  const value = (row) => (a(row) === null || b(row) === null ? null : of(a(row), b(row)));
  return { number: true, value };
}

// Where a value is missing no comparison holds; `= none` asks for just that, and `= nan` for NaN.
function compare(left, operator, right, page) {
  const fixed = [left, right].filter((term) => "constant" in term);
  if (fixed.length === 2) throw unknownColumn(left.word, page);
  const [a, b] = [left.value, right.value];
  const equals = operator === "=" || operator === "==";
  if (equals || operator === "!=") {
    for (const { constant } of fixed) {
      const other = "constant" in left ? b : a;
      if (constant === null) return (row) => (other(row) === null) === equals;
      if (Number.isNaN(constant)) return (row) => Number.isNaN(other(row)) === equals;
    }
    for (const term of fixed) {
      const column = (term === left ? right : left).column;
      if (column?.isText) return textEquals(column, term.word, equals);
    }
  }
  if (operator.endsWith("~")) {
    const contains = operator === "~";
    const low = (value) => String(value).toLowerCase();
    return (row) => a(row) !== null && b(row) !== null && low(a(row)).includes(low(b(row))) === contains;
  }
  checkKinds(left, right, page);
  const holds = {
    "<": (x, y) => x < y, "<=": (x, y) => x <= y, ">": (x, y) => x > y, ">=": (x, y) => x >= y,
    "=": (x, y) => x === y, "==": (x, y) => x === y, "!=": (x, y) => x !== y,
  }[operator];
  return (row) => a(row) !== null && b(row) !== null && holds(a(row), b(row));
}

function textEquals(column, word, equals) {
  return (row) => column.values[row] !== null && (String(column.values[row]) === word) === equals;
}

function checkKinds(left, right, page) {
  for (const [one, other] of [[left, right], [right, left]]) {
    if (isNumeric(one) && typeof other.constant === "string") numberOf(other, page);
    if (isNumeric(one) && other.column && other.column.kind === "string") numberOf(other, page);
  }
}

// A test of a row, or null where nothing is asked for. Throws a FilterError that says what to write instead.
const compileFilter = (text, page) => new FilterParser(text, page).whole();
