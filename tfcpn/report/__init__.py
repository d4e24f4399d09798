"""Images, tables and pages for people."""
