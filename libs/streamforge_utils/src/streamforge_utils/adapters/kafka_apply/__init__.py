"""Topics, users and ACLs from Strimzi's manifests, applied to a Kafka without an operator."""
