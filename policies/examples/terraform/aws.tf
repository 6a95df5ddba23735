# A net under skala that only ever adds: if skala is down and load is far above what it keeps, AWS itself scales out.
# The fleet's policy needs foreign = "allow-scale-out". skala keeps CPU near 60 %, so at 85 % nobody else has acted.

variable "auto_scaling_group" {
  description = "The name of the Auto Scaling group that skala sizes"
  type        = string
}

resource "aws_autoscaling_policy" "net" {
  name                   = "net-under-skala"
  autoscaling_group_name = var.auto_scaling_group
  policy_type            = "TargetTrackingScaling"

  # What it adds is left to skala: a net that removed would fight it, and skala would refuse to write beside it.
  target_tracking_configuration {
    target_value     = 85
    disable_scale_in = true

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}
