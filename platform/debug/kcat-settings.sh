#!/bin/sh
# Writes the settings with which StreamForge finds Kafka (KAFKA_BOOTSTRAP_SERVERS and its companions) to where kcat reads
# its own, so that no password stands in a command line.
set -eu
: "${KAFKA_BOOTSTRAP_SERVERS:?is not set: which brokers?}"
umask 077
file=${KCAT_CONFIG:-$HOME/.config/kcat.conf}
mkdir -p "$(dirname "$file")"
ca=${KAFKA_CA_PATH:-${CA_PATH:-}}
default=PLAINTEXT
if [ -n "$ca" ]; then default=SSL; fi
if [ -n "${KAFKA_USER:-}" ]; then default=SASL_SSL; fi
protocol=${STREAMFORGE_KAFKA_SECURITY_PROTOCOL:-$default}
{
    echo "bootstrap.servers=$KAFKA_BOOTSTRAP_SERVERS"
    echo "security.protocol=$protocol"
    if [ -n "$ca" ]; then echo "ssl.ca.location=$ca"; fi
    if [ -n "${KAFKA_USER:-}" ]; then
        echo "sasl.mechanisms=${STREAMFORGE_KAFKA_SASL_MECHANISM:-SCRAM-SHA-512}"
        echo "sasl.username=$KAFKA_USER"
        echo "sasl.password=${KAFKA_PASSWORD:-}"
    fi
} >"$file"
echo "kcat reads $file: kcat -L lists the topics"
