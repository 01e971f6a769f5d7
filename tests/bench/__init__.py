"""`make bench`: what a saver costs, measured side by side. docs/performance.md explains it and shows the figures."""
