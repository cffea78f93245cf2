"""The result of a rebuild for people."""

from rich.table import Table

from wakeline.replay.rebuild import RebuildResult


def result_table(result: RebuildResult) -> Table:
    """One row per model: how many rows its table had and has, and what else became another."""
    title = f"Rebuilt from {result.landing_rows} rows of landing" if result.executed else "Would be rebuilt (dry run)"
    table = Table(title=title, caption=_caption(result))
    table.add_column("model")
    table.add_column("rows before", justify="right")
    table.add_column("rows after", justify="right")
    table.add_column("changed")
    for model in result.models:
        after = result.rows_after.get(model)
        table.add_row(
            model, str(result.rows_before[model]), "" if after is None else str(after), _changed(result, model)
        )
    return table


def _changed(result: RebuildResult, model: str) -> str:
    changes = {"columns": result.changed_columns, "SQL of the live view": result.redefined}
    return ", ".join(name for name, models in changes.items() if model in models)


def _caption(result: RebuildResult) -> str:
    if result.executed:
        deploy = "; columns changed: run 'wakeline deploy' now" if result.changed_columns else ""
        return f"{result.took_ms / 1000:.1f} s, lanes stood still for {result.standstill_ms} ms{deploy}"
    missing = f", add --accept-missing {result.missing_rows}" if result.missing_rows else ""
    return f"about {result.estimated_seconds} s; to do it, add --execute{missing}"
