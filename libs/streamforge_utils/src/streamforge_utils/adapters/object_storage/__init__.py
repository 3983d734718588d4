"""Objects in a folder, and in a bucket of an S3 server."""
