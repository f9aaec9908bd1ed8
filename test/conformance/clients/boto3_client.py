"""Calls operations with boto3 for the conformance test.

Arguments: the service and the endpoint. Each line on standard input is a JSON
object with operation and params; each line of output is the answer, or the
error as the SDK shows it to a program.
"""
import json
import sys

import boto3
import botocore
from botocore.config import Config

service, endpoint = sys.argv[1:3]
client = boto3.client(service, endpoint_url=endpoint, config=Config(retries={"max_attempts": 1}, parameter_validation=False))

for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = getattr(client, botocore.xform_name(call["operation"]))(**call["params"])
        status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        print(json.dumps({"status": status, "result": answer}), flush=True)
    except botocore.exceptions.ClientError as error:
        response = error.response
        print(json.dumps({
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            "code": response["Error"]["Code"],
            "message": response["Error"].get("Message", ""),
            "typed": type(error).__name__,
        }), flush=True)
