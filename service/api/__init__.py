"""HTTP APIs: native, DeepL, LibreTranslate, KServe and administration."""
