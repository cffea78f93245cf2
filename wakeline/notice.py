"""What the demo shop says about thresholds that a demo shortens."""

from wakeline.settings import Settings


def demo_notice(settings: Settings) -> str:
    """One sentence with the thresholds in force, empty where none was changed."""
    said = []
    if "category_dwell_minutes" in settings.dbt_vars:
        seconds = float(settings.dbt_vars["category_dwell_minutes"]) * 60
        said.append(f"{seconds:.0f} engaged seconds in a category without a purchase (10 minutes by default)")
    if "abandoned_cart_after_seconds" in settings.dbt_vars:
        seconds = float(settings.dbt_vars["abandoned_cart_after_seconds"])
        said.append(f"{seconds:.0f} seconds after a cart was left (an hour by default)")
    return f"Shortened for this demo: mail goes out after {' and '.join(said)}." if said else ""
