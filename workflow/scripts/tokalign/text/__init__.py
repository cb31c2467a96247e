"""Text: documents of any file format, corpora, languages."""
