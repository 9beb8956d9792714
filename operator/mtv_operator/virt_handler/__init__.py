"""Per node: proves KVM, lays the pod's network, drives the launchers, reports the VMIs."""
