// The Gateway API's CRDs, which lie in its Go module. Nothing is built from it.
module streamforge/tests/engines/kubernetes/gateway

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
