"""TFLite flatbuffers: as frozen Python data, and slim as a firmware has them. The one place that knows the schema."""
