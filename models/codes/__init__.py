"""Binary codes: solvers, compensation, bit configurations, straight-through training."""
