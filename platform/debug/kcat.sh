#!/bin/sh
# Debian's kcat has a librdkafka below 2.6.1, which no Kafka 4 lets log in by SCRAM. The one of confluent-kafka stands in.
LD_LIBRARY_PATH=/usr/local/lib/kcat exec /usr/bin/kcat "$@"
