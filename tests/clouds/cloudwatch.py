"""Amazon's own library about CloudWatch: puts values into a server, and judges what was sent to one.

  cloudwatch.py put URL                 values of the namespace Jobs, as of the minutes before now; prints now
  cloudwatch.py alarm URL NAME ARN      an alarm of AWS/SQS that calls a scaling policy above 100
  cloudwatch.py judge EXCHANGES.jsonl   requests (method, path, headers, body) and replies against botocore's service model,
                                        and each signature against botocore's own
"""

import datetime
import json
import sys

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.validate

KEYS = botocore.credentials.Credentials("AKIDEXAMPLE", "a secret key")


def client_of(url):
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    return boto3.client("cloudwatch", endpoint_url=url, region_name="us-east-1", **keys)


def alarm(url, name, arn):
    client_of(url).put_metric_alarm(
        AlarmName=name,
        AlarmActions=[arn],
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": "thumbnails"}],
        Statistic="Average",
        Period=60,
        EvaluationPeriods=2,
        Threshold=100.0,
        ComparisonOperator="GreaterThanThreshold",
    )


def put(url):
    now = datetime.datetime.now(datetime.timezone.utc)
    minute = now.replace(second=0, microsecond=0)
    client = client_of(url)
    for queue, values in {"a": [(5, 1), (4, 2), (4, 6), (3, 30), (0, 999)], "b": [(60, 5)]}.items():
        for minutes, value in values:
            data = {
                "MetricName": "Depth",
                "Dimensions": [{"Name": "Queue", "Value": queue}],
                "Timestamp": minute - datetime.timedelta(minutes=minutes),
                "Value": value,
            }
            client.put_metric_data(Namespace="Jobs", MetricData=[data])
    print(int(minute.timestamp()))


def signature(headers, method, path, body):
    """What botocore signs with the same time and headers."""
    fields = dict(part.strip().split("=", 1) for part in headers["authorization"].split(" ", 1)[1].split(","))
    _, _, region, service, _ = fields["Credential"].split("/")
    signed = {name: headers[name] for name in fields["SignedHeaders"].split(";")}
    request = botocore.awsrequest.AWSRequest(method, f"http://{headers['host']}{path}", headers=signed, data=body.encode())
    request.context["timestamp"] = headers["x-amz-date"]
    auth = botocore.auth.SigV4Auth(KEYS, service, region)
    canonical = auth.canonical_request(request)
    return fields["Signature"], auth.signature(auth.string_to_sign(request, canonical), request), region, service


def judge(path):
    model = botocore.loaders.Loader().load_service_model("cloudwatch", "service-2")
    assert "json" in model["metadata"]["protocols"], "the service speaks this protocol"
    operation = botocore.model.ServiceModel(model, "cloudwatch").operation_model("GetMetricData")
    target = f"{model['metadata']['targetPrefix']}.GetMetricData"
    count = 0
    for line in open(path, encoding="utf-8"):
        exchange = json.loads(line)
        headers = exchange["headers"]
        assert (exchange["method"], exchange["path"], headers["x-amz-target"]) == ("POST", "/", target), exchange
        assert headers["content-type"] == f"application/x-amz-json-{model['metadata']['jsonVersion']}", headers
        parameters = json.loads(exchange["body"])
        for key in ["StartTime", "EndTime"]:
            parameters[key] = datetime.datetime.fromtimestamp(parameters[key], datetime.timezone.utc)
        known = set(operation.input_shape.members)
        assert set(parameters) <= known, set(parameters) - known
        report = botocore.validate.ParamValidator().validate(parameters, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        theirs, ours, region, service = signature(headers, exchange["method"], exchange["path"], exchange["body"])
        assert theirs == ours, (theirs, ours)
        assert (region, service) == ("us-east-1", "monitoring"), (region, service)
        reply = {"status_code": exchange["status"], "headers": {}, "body": exchange["reply"].encode()}
        parsed = botocore.parsers.JSONParser().parse(reply, operation.output_shape)
        if exchange["status"] == 200:
            for result in parsed["MetricDataResults"]:
                assert len(result["Timestamps"]) == len(result["Values"]), result
        else:
            assert parsed["Error"]["Code"], parsed
        count += 1
    print(count)


if __name__ == "__main__":
    {"put": put, "alarm": alarm, "judge": judge}[sys.argv[1]](*sys.argv[2:])
