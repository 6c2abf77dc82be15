"""One HTML file that shows the table of a screening: sort, filter, plot, look at structures, without any network."""

from md_workflows.page.writing import PageSettings, PageWritten, write_page

__all__ = ["PageSettings", "PageWritten", "write_page"]
