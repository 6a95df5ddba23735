# A net under skala that only ever adds: if skala is down and load is far above what it keeps, Azure Monitor scales out.
# The fleet's policy needs foreign = "allow-scale-out". skala keeps CPU near 60 %, so at 85 % nobody else has acted.

variable "resource_group" {
  description = "The resource group of the scale set"
  type        = string
}

variable "location" {
  description = "The region of the scale set"
  type        = string
}

variable "scale_set" {
  description = "The resource id of the virtual machine scale set that skala sizes"
  type        = string
}

resource "azurerm_monitor_autoscale_setting" "net" {
  name                = "net-under-skala"
  resource_group_name = var.resource_group
  location            = var.location
  target_resource_id  = var.scale_set

  profile {
    name = "net"

    # Azure pulls capacity into these bounds at once, also down to maximum: no lower than the fleet's max. A minimum of 0
    # and a default of 0 leave the bottom to skala.
    capacity {
      minimum = 0
      maximum = 120
      default = 0
    }

    # There is no rule that decreases, and there must be none.
    rule {
      metric_trigger {
        metric_name        = "Percentage CPU"
        metric_namespace   = "microsoft.compute/virtualmachinescalesets"
        metric_resource_id = var.scale_set
        time_grain         = "PT1M"
        statistic          = "Average"
        time_window        = "PT5M"
        time_aggregation   = "Average"
        operator           = "GreaterThan"
        threshold          = 85
      }

      scale_action {
        direction = "Increase"
        type      = "PercentChangeCount"
        value     = "20"
        cooldown  = "PT5M"
      }
    }
  }
}
