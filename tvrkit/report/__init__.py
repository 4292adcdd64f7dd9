"""An evaluation as one HTML file."""

from tvrkit.report.page import write_report

__all__ = ["write_report"]
