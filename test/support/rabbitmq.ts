// The private broker of the integration tests; how it is run is told where the demo can have it too.
export {
  isRabbitmqInstalled,
  reapStale,
  startPrivateRabbitmq,
  type PrivateRabbitmq,
} from "../../scripts/private-rabbitmq.ts";
