"""The source of a URI, by its scheme: the one place that knows all kinds of stores.

Next step: `gathering` asks it for a listing. Must not ask a store anything itself.
"""

import os

from leadline_runtime.fetch import files, hub, mlflow, oci, stores, web


def source_of(uri: str) -> stores.Source:
    """Return the source of a URI; its fragment is for the caller.

    Raises:
        StoreError: The URI names none.
    """
    uri = uri.partition("#")[0]
    match stores.scheme_of(uri):
        case "file" | "pvc":
            return files.FileSource(uri)
        case "http" | "https":
            return stores.OneFile(web.WebStore(uri, headers=web.given_headers(os.environ)))
        case "s3" | "gs" | "az":
            from leadline_runtime.fetch import buckets  # noqa: PLC0415  # obstore takes 10 MB

            return buckets.source(uri)
        case "oci":
            return oci.Artifact(uri, oci.Login.of(os.environ))
        case "hf":
            return hub.Repository(uri, hub.Login.of(os.environ))
        case "models":
            return mlflow.RegisteredModel(uri, mlflow.Login.of(os.environ))
    raise stores.StoreError(
        stores.Fault.NOT_FOUND,
        f"{stores.shown(uri)}: expected a URI of {', '.join(stores.SCHEMES)}, or models:/NAME/VERSION of MLflow",
    )
