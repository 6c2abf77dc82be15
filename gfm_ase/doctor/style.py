"""The look of the page."""

STYLE = """
:root { --ink: #1d2733; --soft: #5b6875; --line: #dfe5ea; --ground: #f3f5f7; --blue: #1f5fa8;
  --pass: #1f7a3f; --warn: #a86a00; --fail: #b3261e; --skipped: #7b8794; --info: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
header { background: linear-gradient(120deg, #14304f, #1f5fa8); color: #fff; padding: 30px 0 26px; }
header > div, main { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
h1 { margin: 0 0 4px; font-size: 26px; font-weight: 650; overflow-wrap: anywhere; }
header p { margin: 0; color: #d9e6f4; }
main { padding-bottom: 50px; }
.verdict { background: #fff; border-left: 7px solid; border-radius: 8px; padding: 16px 20px; margin: 22px 0 18px;
  font-size: 18px; font-weight: 600; }
.verdict.pass { border-color: var(--pass); } .verdict.warn { border-color: var(--warn); }
.verdict.fail { border-color: var(--fail); } .verdict.skipped { border-color: var(--skipped); }
.counts { margin-top: 8px; font-size: 13.5px; font-weight: 400; color: var(--soft); display: flex; gap: 18px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 22px;
  margin-bottom: 18px; }
h2 { margin: 0 0 6px; font-size: 18.5px; font-weight: 650; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { color: var(--soft); font-weight: 600; text-align: left; border-bottom: 2px solid var(--line); padding: 5px 10px; }
td { padding: 9px 10px; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.check { width: 30%; } td.check b { display: block; } td.check span, .soft, figcaption { color: var(--soft); }
td.check span { font-size: 13px; }
td.found { width: 44%; } td.found p { margin: 6px 0 0; }
td.found .source { font-size: 12.5px; color: var(--soft); margin-top: 3px; }
td.found summary { cursor: pointer; }
td.found .remedy { border-left: 3px solid var(--warn); padding-left: 9px; }
tr.fail .remedy { border-color: var(--fail); }
.badge { display: inline-block; min-width: 62px; white-space: nowrap; text-align: center; border-radius: 5px;
  padding: 1px 7px; color: #fff; font-size: 12.5px; font-weight: 600; }
.badge.pass { background: var(--pass); } .badge.warn { background: var(--warn); }
.badge.fail { background: var(--fail); }
.badge.skipped { background: var(--skipped); } .badge.info { background: var(--info); }
tr.skipped td { color: var(--soft); }
tr.fail td { background: #fdf3f2; } tr.warn td { background: #fdf8ee; }
figure { margin: 8px 0 22px; } figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: 13.5px; margin-top: 4px; }
dl { display: grid; grid-template-columns: 150px 1fr; gap: 4px 14px; margin: 6px 0 0; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""
