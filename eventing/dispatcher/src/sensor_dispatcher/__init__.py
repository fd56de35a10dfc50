"""Stands in for Knative Eventing on one machine and in Compose; never used on Kubernetes."""
