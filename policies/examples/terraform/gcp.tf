# A net under skala that only ever adds: if skala is down and load is far above what it keeps, the managed instance
# group's autoscaler scales out. The fleet's policy needs foreign = "allow-scale-out". skala keeps CPU near 60 %, so at
# 85 % nobody else has acted.

variable "zone" {
  description = "The zone of the managed instance group"
  type        = string
}

variable "instance_group_manager" {
  description = "The self link of the managed instance group that skala sizes"
  type        = string
}

resource "google_compute_autoscaler" "net" {
  name   = "net-under-skala"
  zone   = var.zone
  target = var.instance_group_manager

  autoscaling_policy {
    # Without it the autoscaler removes, and skala refuses to write beside it.
    mode = "ONLY_SCALE_OUT"

    # The autoscaler's own bounds hold whatever skala wants: min no higher and max no lower than the fleet's.
    min_replicas    = 4
    max_replicas    = 120
    cooldown_period = 60

    cpu_utilization {
      target = 0.85
    }
  }
}
