"""Tables, figures, pages and the summary, from result files alone."""
