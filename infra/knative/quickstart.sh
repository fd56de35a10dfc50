#!/usr/bin/env bash
# quickstart.sh [--help]
#
# Makes a local cluster (kind) with all that infra/knative needs, and applies the development overlay.
# Run it again to apply changes; `kind delete cluster --name knative` removes everything.
#
# Needed: docker, kind, kubectl, kn with its plugin quickstart; 8 cores, 12 GiB of memory,
# and the project's two images (make docker-build).
set -euo pipefail

case "${1-}" in
  "") ;;
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit
    ;;
  *)
    echo "unknown: $1; see --help" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/../.."

CLUSTER=knative
NAMESPACE=twinup-sensors
VERSION="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)"
IMAGES=(ghcr.io/example/twinup-functions ghcr.io/example/twinup-tools)
GITHUB=https://github.com
# Each can be pinned, e.g. EVENTING_KAFKA=download/knative-v1.20.0
EVENTING_KAFKA="${EVENTING_KAFKA:-latest/download}"
KEDA_VERSION="${KEDA_VERSION:-2.21.0}"
PROMETHEUS_OPERATOR_VERSION="${PROMETHEUS_OPERATOR_VERSION:-0.85.0}"
STRIMZI="${STRIMZI:-latest}"

say() { printf '\n== %s\n' "$*"; }

for program in docker kind kubectl kn; do
  command -v "$program" >/dev/null || { echo "$program is needed" >&2; exit 1; }
done
for image in "${IMAGES[@]}"; do
  docker image inspect "$image:$VERSION" >/dev/null 2>&1 || {
    echo "build the image $image:$VERSION first" >&2
    exit 1
  }
done

if ! kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
  say "a cluster with Knative Serving, Kourier and Knative Eventing"
  kn quickstart kind --name "$CLUSTER"
fi
kubectl config use-context "kind-$CLUSTER"

say "Knative's Kafka source and sink"
for part in eventing-kafka-controller eventing-kafka-source eventing-kafka-sink; do
  kubectl apply -f "$GITHUB/knative-extensions/eventing-kafka-broker/releases/$EVENTING_KAFKA/$part.yaml"
done

say "KEDA, and Knative's use of it"
kubectl apply --server-side \
  -f "$GITHUB/kedacore/keda/releases/download/v$KEDA_VERSION/keda-$KEDA_VERSION.yaml"
kubectl patch configmap config-kafka-features -n knative-eventing --type merge \
  -p '{"data": {"controller-autoscaler-keda": "enabled"}}'

say "Strimzi"
kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f -
kubectl apply --server-side -n "$NAMESPACE" \
  -f "https://strimzi.io/install/$STRIMZI?namespace=$NAMESPACE"

say "the definition of PodMonitor"
kubectl apply --server-side -f "$GITHUB/prometheus-operator/prometheus-operator/raw/\
v$PROMETHEUS_OPERATOR_VERSION/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"

say "the images of the project"
for image in "${IMAGES[@]}"; do
  kind load docker-image --name "$CLUSTER" "$image:$VERSION"
done
# They are in the cluster's nodes and in no registry that Knative could ask for their digests.
kubectl patch configmap config-deployment -n knative-serving --type merge \
  -p '{"data": {"registries-skipping-tag-resolving": "kind.local,ko.local,dev.local,ghcr.io"}}'

say "waiting for the operators"
kubectl wait deployment --all --for=condition=Available --timeout=300s -n knative-serving
kubectl wait deployment --all --for=condition=Available --timeout=300s -n knative-eventing
kubectl wait deployment --all --for=condition=Available --timeout=300s -n keda
kubectl wait deployment strimzi-cluster-operator --for=condition=Available --timeout=300s \
  -n "$NAMESPACE"

say "the system"
# A Job cannot be changed, and both may be run again at any time.
kubectl delete job migrations make-secrets -n "$NAMESPACE" --ignore-not-found
kubectl apply -k infra/knative/overlays/dev
kubectl wait kafka kafka --for=condition=Ready --timeout=600s -n "$NAMESPACE"
kubectl wait job migrations --for=condition=Complete --timeout=600s -n "$NAMESPACE"
kubectl wait services.serving.knative.dev --all --for=condition=Ready --timeout=600s -n "$NAMESPACE"
kubectl wait kafkasources.sources.knative.dev --all --for=condition=Ready --timeout=300s \
  -n "$NAMESPACE"

say "ready"
kubectl get services.serving.knative.dev -n "$NAMESPACE"
cat <<TEXT
log in as admin with the password that this shows:
  kubectl get secret auth-admin -n $NAMESPACE -o jsonpath='{.data.password}' | base64 -d
mails: kubectl port-forward service/mail -n $NAMESPACE 8025, then http://127.0.0.1:8025
TEXT
