"""Tables and the page, from what was measured."""
