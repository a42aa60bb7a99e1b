// Reads a JSON list of resources of KEDA and the Prometheus operator; writes a list of what is wrong with each, or null.
import * as keda from "@kubernetes-models/keda/keda.sh/v1alpha1";
import * as monitoring from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { readFileSync } from "node:fs";

const groups = { "keda.sh/v1alpha1": keda, "monitoring.coreos.com/v1": monitoring };

function fault(resource) {
  const Model = groups[resource.apiVersion]?.[resource.kind];
  if (!Model) return `${resource.apiVersion} ${resource.kind}: no schema`;
  try {
    new Model(resource).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(fault)));
