"""Reports: tables and plots of quality, and the tables of the paper."""
