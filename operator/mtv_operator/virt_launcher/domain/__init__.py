"""The parts of a domain's XML: pure functions from a VMI's spec and a context to elements."""
