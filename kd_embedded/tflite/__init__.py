"""TFLite flatbuffers as frozen Python data: the one place that knows the schema."""
