"""Search engines of others for galleries that are too large to compare a query with all: faiss, and Milvus."""
