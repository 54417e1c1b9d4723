// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Streams of payment for development networks: what readers of Superfluid's ConstantFlowAgreementV1 call.
/// @dev It records rates and moves no tokens: nodes read rates alone. Everybody sets the flows that they send.
contract AlephFlows {
    struct Flow {
        uint256 timestamp;
        int96 flowRate;
    }

    mapping(address => mapping(address => mapping(address => Flow))) private flows;

    event FlowUpdated(address indexed token, address indexed sender, address indexed receiver, int96 flowRate);

    error InvalidFlowRate(int96 flowRate);

    /// @param flowRate in wei per second; 0 ends the flow.
    function setFlow(address token, address receiver, int96 flowRate) external {
        if (flowRate < 0) revert InvalidFlowRate(flowRate);
        flows[token][msg.sender][receiver] = Flow(block.timestamp, flowRate);
        emit FlowUpdated(token, msg.sender, receiver, flowRate);
    }

    function getFlow(address token, address sender, address receiver)
        external
        view
        returns (uint256 timestamp, int96 flowRate, uint256 deposit, uint256 owedDeposit)
    {
        Flow storage flow = flows[token][sender][receiver];
        return (flow.timestamp, flow.flowRate, 0, 0);
    }
}
