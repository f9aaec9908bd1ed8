"""What a program gets from boto3 beyond answers and errors, for the conformance suite.

Arguments: the endpoint, what to do, and a value for it. Prints one line of JSON.
"""
import json
import sys

import boto3
import botocore

endpoint, what, value = sys.argv[1:4]
older = boto3.client("chime", endpoint_url=endpoint)
newer = boto3.client("chime-sdk-meetings", endpoint_url=endpoint)
someone = {"MeetingId": "00000000-0000-4000-8000-000000000000", "ExternalUserId": value}

if what == "presign":
    print(json.dumps([c.generate_presigned_url("get_meeting", Params={"MeetingId": value}, ExpiresIn=60) for c in (older, newer)]))
elif what == "refused":
    once = botocore.config.Config(retries={"max_attempts": 0})
    try:
        boto3.client("chime-sdk-meetings", endpoint_url=endpoint, config=once).create_attendee(**someone)
    except botocore.exceptions.ClientError as error:
        print(json.dumps(error.response.get("RetryAfterSeconds")))
elif what == "retried":
    print(json.dumps([c.create_attendee(**someone)["Attendee"]["ExternalUserId"] for c in (older, newer)]))
