"""Embeds pictures by a trained network into Parquet files, for other tools and for galleries in Milvus."""
