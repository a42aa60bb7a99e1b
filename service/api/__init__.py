"""HTTP dialects: routes, schemas and error shapes."""
