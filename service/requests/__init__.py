"""What every dialect does with a request: detection, markup, pivoting, admission, deadlines."""
