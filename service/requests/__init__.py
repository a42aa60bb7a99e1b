"""Requests, whatever their dialect: detection, markup, pivoting, admission, deadlines."""
