"""Errors as a table, beside the predictors that need no network."""

from collections.abc import Mapping

from rich.table import Table

GPA = 160.21766208
ROWS: tuple[tuple[str, str, str, float], ...] = (
    ("energy", "energy, meV/atom", "eV_per_atom", 1e3),
    ("forces", "forces, meV/Å", "eV_per_A", 1e3),
    ("stress", "stress, GPa", "eV_per_A3", GPA),
    ("total_energy", "energy of a structure, meV", "eV", 1e3),
)


def errors_table(errors: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """MAE and RMSE by data set; the trivial predictor says E0 alone, zero vectors and stress, the mean of scalars."""
    table = Table(title=title, title_justify="left")
    for column in ("head", "quantity", "MAE", "RMSE", "trivial MAE", "ratio"):
        table.add_column(column, justify="left" if column in {"head", "quantity"} else "right")
    for head, found in errors.items():
        for name, label, unit, factor in (*ROWS, *_outputs(found)):
            mae, rmse = found.get(f"{name}_mae_{unit}"), found.get(f"{name}_rmse_{unit}")
            if mae is None or rmse is None:
                continue
            trivial = found.get(f"trivial_{name}_mae_{unit}")
            compared = (
                ("", "") if trivial is None else (f"{factor * trivial:.3g}", f"{trivial / max(mae, 1e-12):.1f} ×")
            )
            table.add_row(head, label, f"{factor * mae:.3g}", f"{factor * rmse:.3g}", *compared)
    return table


def _outputs(errors: Mapping[str, float]) -> list[tuple[str, str, str, float]]:
    """Rows of what is not in `ROWS`: outputs beyond energy, forces and stress, in their own units."""
    usual = {(name, unit) for name, _, unit, _ in ROWS}
    rows = []
    for key in errors:
        name, found, unit = key.partition("_mae_")
        if found and not name.startswith("trivial_") and (name, unit) not in usual:
            rows.append((name, f"{name}, {unit.replace('_per_', '/')}", unit, 1.0))
    return rows
