#!/usr/bin/env python3
"""The SDK of Feast as a client of Larder: reads one question per line, prints one line of JSON per answer.

    python3 tests/feast/sdk.py REPOSITORY < questions

REPOSITORY is a folder written by `larder feast-repo` and registered by `feast apply`. A question is JSON:
    {"ask": "online", "ids": [...], "features": ["rfm:segment"] or "service": "...", "full": false}
    {"ask": "rows", "view": "rfm", "features": [...], "ids": [...]}, read by declared type as before Feast 0.64
    {"ask": "schema"}
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value


def online(store, question):
    features = question.get("features") or store.get_feature_service(question["service"])
    response = store.get_online_features(
        features=features,
        entity_rows=[{"customer_id": id} for id in question["ids"]],
        full_feature_names=question.get("full", False),
    )
    names = list(response.proto.metadata.feature_names.val)
    statuses = [[FieldStatus.Name(status) for status in vector.statuses] for vector in response.proto.results]
    return {
        "values": response.to_dict(),
        "statuses": dict(zip(names, statuses)),
        "frame": list(response.to_df().columns),
    }


def rows(store, question):
    view = store.get_feature_view(question["view"])
    keys = [
        EntityKey(join_keys=["customer_id"], entity_values=[Value(string_val=id)]) for id in question["ids"]
    ]
    found = store._get_provider().online_read(store.config, view, keys, question["features"])
    kinds = lambda values: {name: [value.WhichOneof("val"), text(value)] for name, value in values.items()}
    return [{"as_of": as_of.isoformat(), "values": kinds(values)} for as_of, values in found]


def text(value):
    kind = value.WhichOneof("val")
    found = kind and getattr(value, kind)
    return list(found.val) if hasattr(found, "val") else found


def schema(store, _):
    views = {
        view.name: {field.name: str(field.dtype) for field in view.features}
        for view in store.list_feature_views()
    }
    services = {
        service.name: [
            f"{view.name}:{field.name}"
            for view in service.feature_view_projections
            for field in view.features
        ]
        for service in store.list_feature_services()
    }
    ages = {view.name: view.ttl.total_seconds() for view in store.list_feature_views()}
    return {"views": views, "services": services, "ages": ages}


def main():
    store = FeatureStore(repo_path=sys.argv[1])
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"online": online, "rows": rows, "schema": schema}[question["ask"]](store, question)
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
