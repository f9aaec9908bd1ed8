"""Calls operations with boto3 for the conformance suite.

Arguments: the endpoint and the service. Lines in and out are as in client.mjs.
"""
import json
import sys

import boto3
import botocore
from botocore.config import Config

endpoint, service = sys.argv[1:3]
client = boto3.client(service, endpoint_url=endpoint, config=Config(retries={"max_attempts": 1}))


def say(line):
    print(json.dumps(line), flush=True)


say({"version": boto3.__version__, "operations": list(client.meta.service_model.operation_names)})
for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = getattr(client, botocore.xform_name(call["operation"]))(**call["params"])
        status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        say({"status": status, "result": answer})
    except botocore.exceptions.ClientError as error:
        metadata = error.response["ResponseMetadata"]
        say({
            "status": metadata["HTTPStatusCode"],
            "code": error.response["Error"]["Code"],
            "message": error.response["Error"].get("Message", ""),
            "class": type(error).__name__,
            "request": metadata.get("RequestId", ""),
        })
